// Server-Sent Events from a fetch. EventSource can't send a bearer token, and closes for good on 503.

/**
 * Reads events until the body ends or fails. Calls `onChunk()` for every sign of life, comments included, and
 * then `onEvent({ kind, data, id })` for each event. `id` is undefined if the event has none; `data` is '' if the
 * event has only an id. `onRetry(ms)`: how long the server wants clients to wait.
 */
export async function readEvents(body, { onChunk, onEvent, onRetry }) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parse = createParser(onEvent, onRetry);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onChunk();
      parse(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {}); // also when a handler threw
  }
}

function createParser(onEvent, onRetry) {
  let rest = '';
  let isAfterReturn = false; // "\r\n" may come in two chunks
  let block = {};

  function take(line) {
    if (line === '') {
      const { kind = 'message', data, id } = block;
      block = {};
      if (data !== undefined || id !== undefined) onEvent({ kind, data: data ?? '', id });
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') block.data = block.data === undefined ? value : `${block.data}\n${value}`;
    else if (name === 'event') block.kind = value;
    else if (name === 'id' && !value.includes('\0')) block.id = value;
    else if (name === 'retry' && /^\d+$/.test(value)) onRetry(Number(value));
  }

  return (text) => {
    if (!text) return;
    const fresh = isAfterReturn && text[0] === '\n' ? text.slice(1) : text;
    isAfterReturn = text.endsWith('\r');
    const lines = (rest + fresh).split(/\r\n|\r|\n/);
    rest = lines.pop();
    lines.forEach(take);
  };
}
