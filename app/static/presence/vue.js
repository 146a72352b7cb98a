// Vue over the core: a composable, and the avatars and conflicts as components.

import {
  computed,
  defineComponent,
  h,
  onActivated,
  onBeforeUnmount,
  onDeactivated,
  onMounted,
  shallowRef,
  toValue,
  watch,
} from 'vue';

import { clearAvatars, renderAvatars } from './avatars.js';
import { createConflictLoader } from './conflictLoader.js';
import { createPresence } from './presence.js';
import { NOTHING_KNOWN } from './store.js';

/**
 * Keeps this component's tab on a record for as long as it is mounted; in a <KeepAlive>, for as long as it is shown.
 * Another record makes another presence, and nothing is known of it until its first answer.
 *
 * Each argument may be a value, a ref or a getter. `isDirty` may be the names of the dirty fields. `options` are
 * createPresence's. `mode`, `activeField`, `baseVersion`, `token` and the functions may change at any time; `base` and
 * `credentials` are read when the record changes.
 */
export function useRecordPresence(recordType, recordId, isDirty = false, options = {}) {
  const state = shallowRef(NOTHING_KNOWN);
  const latest = () => toValue(options);
  const hasToken = () => latest().token !== undefined; // null or '': not yet
  let presence = null;
  let isShown = false;
  let unsubscribes = [];

  function enter() {
    const id = toValue(recordId);
    if (!isShown || id == null) return; // not saved yet: nobody else can have it open
    const given = latest();
    presence = createPresence({
      ...given,
      // Functions are usually written inline, so the newest one is called.
      token: hasToken()
        ? {
            get current() {
              return latest().token;
            },
          }
        : undefined,
      csrfToken: given.csrfToken && (() => callOrGet(latest().csrfToken)),
      type: toValue(recordType),
      id,
      autoStart: false,
    });
    unsubscribes = [
      presence.subscribe((snapshot) => {
        state.value = snapshot;
      }),
      presence.on('change', (difference) => latest().onChange?.(difference)),
      presence.on('unauthorized', (error) => latest().onUnauthorized?.(error)),
      presence.on('error', (error) => latest().onError?.(error)),
      presence.on('signal', (signal) => latest().onSignal?.(signal)),
      presence.on('asked', (detail) => latest().onAsked?.(detail)),
      presence.on('passed', (detail) => latest().onPassed?.(detail)),
    ];
    apply();
    presence.resume();
  }

  function leave() {
    presence?.stop();
    for (const unsubscribe of unsubscribes) unsubscribe();
    unsubscribes = [];
    presence = null;
    state.value = NOTHING_KNOWN;
  }

  function apply() {
    const { mode = 'view', activeField = null, baseVersion = null } = latest();
    presence?.setBaseVersion(baseVersion);
    presence?.setDirty(toValue(isDirty));
    presence?.setMode(mode);
    presence?.setActiveField(activeField);
  }

  function show() {
    if (isShown) return;
    isShown = true;
    enter();
  }

  function hide() {
    isShown = false;
    leave();
  }

  watch([() => toValue(recordType), () => toValue(recordId), hasToken], () => {
    leave();
    enter();
  });
  // Names in another array are the same names.
  watch(() => {
    const { mode, activeField, baseVersion } = latest();
    return JSON.stringify([toValue(isDirty), mode, activeField, baseVersion]);
  }, apply);
  watch(
    () => latest().token?.url ?? latest().token,
    (token) => {
      const { error } = state.value;
      if (token && (error?.isAboutToken || error?.kind === 'unauthorized')) presence?.resume();
    },
  );
  onMounted(show);
  onActivated(show);
  onDeactivated(hide);
  onBeforeUnmount(hide);

  const parts = Object.keys(NOTHING_KNOWN).map((part) => [part, computed(() => state.value[part])]);
  const call = (name) => [
    name,
    async (...values) => {
      if (!presence) throw new Error('This component is not on a record.');
      return presence[name](...values);
    },
  ];
  return {
    ...Object.fromEntries([...parts, ...['claim', 'release', 'decline', 'announceSaved'].map(call)]),
    state,
    resume: () => presence?.resume(),
    signal: (kind, data) => presence?.signal(kind, data),
  };
}

const callOrGet = (value) => (typeof value === 'function' ? value() : value);

/** `state` is the composable's; the other props are renderAvatars' options. */
export const PresenceAvatars = defineComponent({
  name: 'PresenceAvatars',
  props: {
    state: { type: Object, required: true },
    max: Number,
    maxAgents: Number,
    graceMs: Number,
    wasHere: { type: Boolean, default: undefined },
    pictures: { type: Boolean, default: undefined },
    announce: { type: Boolean, default: undefined },
    locale: String,
    labels: Object,
    fieldLabel: Function,
  },
  setup(props) {
    const element = shallowRef(null);
    const draw = () => {
      const { state, ...options } = props;
      if (element.value) renderAvatars(element.value, state, options);
    };
    onMounted(draw);
    watch(() => ({ ...props }), draw);
    onBeforeUnmount(() => clearAvatars(element.value));
    return () => h('div', { ref: element });
  },
});

/** A conflict as long as there is `theirs`. See vue.d.ts; the other props are the element's. */
export const RecordConflict = defineComponent({
  name: 'RecordConflict',
  props: {
    base: { type: Object, required: true },
    mine: { type: Object, required: true },
    theirs: Object,
    fields: Array,
    whole: Array,
    saves: Array,
    isRefused: Boolean,
    labels: Object,
    locale: String,
    fieldLabel: Function,
    format: Function,
  },
  emits: ['resolve', 'collisions'],
  setup(props, { emit }) {
    const element = shallowRef(null);
    let loader = null;
    let resolved = null; // theirs, until the host has taken it over
    async function draw() {
      const { theirs } = props;
      if (!theirs) {
        resolved = null;
        loader?.clear();
      } else if (theirs !== resolved) {
        await loader?.show({ ...props });
      }
    }
    onMounted(() => {
      loader = createConflictLoader(element.value, {
        onResolve(outcome) {
          resolved = props.theirs;
          emit('resolve', outcome);
        },
        onCollisions: (names) => emit('collisions', names),
      });
      return draw();
    });
    watch(() => ({ ...props, mine: { ...props.mine } }), draw);
    onBeforeUnmount(() => loader.clear());
    return () => h('div', { ref: element });
  },
});
