// A dedicated worker that wakes the page. Browsers slow the timers of a hidden page to one a minute;
// a worker's run on time. It takes [id, delayMs] to set and [id] to clear, and answers with the id.

const handles = new Map();

onmessage = ({ data: [id, delayMs] }) => {
  clearTimeout(handles.get(id));
  handles.delete(id);
  if (delayMs === undefined) return;
  handles.set(
    id,
    setTimeout(() => {
      handles.delete(id);
      postMessage(id);
    }, delayMs),
  );
};
