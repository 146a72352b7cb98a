// What a page has of conflicts before there is one: this.

/**
 * conflictView.js's createConflictView, whose code is loaded with the first conflict. `show()` rejects where it can't be
 * loaded, and tries again the next time.
 */
export function createConflictLoader(host, handlers) {
  let view = null;
  let loading = null;
  let input = null; // the last, until it can be shown

  return {
    async show(next) {
      input = next;
      loading ??= import('./conflictView.js');
      try {
        const { createConflictView } = await loading;
        view ??= createConflictView(host, handlers);
      } catch (error) {
        loading = null;
        throw error;
      }
      if (input === next) view.show(next);
    },
    open: () => view?.open(),
    clear() {
      input = null;
      view?.clear();
    },
  };
}
