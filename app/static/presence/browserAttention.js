// The rest of the contact with the browser, beside browserSharing.js: whether the user does something.

const EVENTS = ['pointerdown', 'pointermove', 'keydown', 'touchstart', 'wheel', 'scroll', 'visibilitychange'];

/** For browser.d.ts; nothing where there is no page. */
export const attentionOf = (win = globalThis) =>
  win.document && {
    /** Also what a part of the page keeps to itself, since the window hears of it first. */
    onActivity(run) {
      const options = { capture: true, passive: true };
      const onEvent = () => win.document.visibilityState === 'hidden' || run();
      for (const name of EVENTS) win.addEventListener(name, onEvent, options);
      return () => {
        for (const name of EVENTS) win.removeEventListener(name, onEvent, options);
      };
    },
    isInFrame: () => win.document.hasFocus() && win.document.activeElement?.tagName === 'IFRAME',
  };
