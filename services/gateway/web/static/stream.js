// Server-sent events over fetch, since EventSource cannot send a key. Goes on by itself after the last event it saw.

import { ApiError, send } from "./api.js";

const LONGEST_WAIT = 15000;
const SILENCE = 45000;

/** Reads one response as events: {event, data, id}. */
async function* events(body, touch) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { event: "message", data: [], id: null };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      touch();
      const lines = (rest + value).split(/\r\n|\n|\r/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (event.data.length > 0) yield { ...event, data: event.data.join("\n") };
          event = { event: "message", data: [], id: event.id };
        } else if (!line.startsWith(":")) {
          const [, field, text] = /^([^:]*)(?:: ?(.*))?$/.exec(line);
          if (field === "data") event.data.push(text ?? "");
          else if (field === "event") event.event = text;
          else if (field === "id") event.id = text;
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Follows a stream until `signal` is aborted.
 * @param onEvent (kind, value) for each event, its data parsed.
 * @param onLink ("live" | "offline") as the connection comes and goes.
 * @returns false if the gateway has no such stream, or lets no more in; then one has to poll. */
export async function follow(path, { signal, onEvent, onLink = () => {} }) {
  let last = null;
  let wait = 500;
  while (!signal.aborted) {
    const inner = new AbortController();
    const stop = () => inner.abort();
    signal.addEventListener("abort", stop);
    let timer = null;
    const touch = () => {
      clearTimeout(timer);
      timer = setTimeout(stop, SILENCE);
    };
    try {
      const more = { Accept: "text/event-stream", ...(last === null ? {} : { "Last-Event-ID": last }) };
      const response = await send("GET", path, { more, signal: inner.signal });
      if (!(response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) return false;
      onLink("live");
      wait = 500;
      touch();
      for await (const event of events(response.body, touch)) {
        if (event.id !== null) last = event.id;
        onEvent(event.event, JSON.parse(event.data));
      }
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 408) return false;
      if (!(error instanceof ApiError) && error.name !== "AbortError" && !(error instanceof TypeError)) throw error;
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
    }
    if (signal.aborted) break;
    onLink("offline");
    await pause(wait, signal);
    wait = Math.min(LONGEST_WAIT, 2 * wait);
  }
  return true;
}

/** Waits, unless it is told to stop before. */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}
