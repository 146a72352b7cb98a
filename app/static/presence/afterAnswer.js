// What a presence needs from its first answered heartbeat on, beside the stream. Loaded by presence.js.

import { createAttention } from './attention.js';
import { createConflicts } from './conflicts.js';
import { createUnseen } from './unseen.js';

/** As createConflicts and createAttention together; `apply` also takes the time of an answered heartbeat. */
export function createAfterAnswer({ awayAfterMs, ...parts }) {
  const { browser, store, heartbeat, update } = parts;
  const conflicts = createConflicts(parts);
  let hasToldOfLeftOut = false;
  const unseen = createUnseen({ browser, store, intervalMs: heartbeat.intervalMs });
  return {
    ...conflicts,
    ...createAttention({ browser, store, heartbeat, awayAfterMs, update }),
    apply(news, sent, isStreaming) {
      if (sent) unseen.onAnswer();
      if (news.left_out && !hasToldOfLeftOut) {
        hasToldOfLeftOut = true;
        console.warn(
          'Record Presence left out fields that others are not shown, since there are too many.',
          news.left_out,
        );
      }
      conflicts.apply(news, sent, isStreaming);
    },
  };
}
