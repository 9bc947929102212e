// All runs as they are now, kept up to date for whoever subscribes: by the gateway's stream, or else by asking again.

import { get } from "./api.js";
import { follow, pause } from "./stream.js";

const POLL = 2000;
const HIDDEN_POLL = 15000;
const REFRESH = 60000;
const MOST = 500;

export const live = {
  runs: new Map(),
  problems: [],
  loaded: false,
  error: null,
  link: "connecting",
};

const listeners = new Set();
let streaming = false;
let waiting = new AbortController();

/** Calls `listener` after each change; returns how to end that. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Takes in a run's view that came from elsewhere, such as the answer to a button. */
export function learn(view) {
  live.runs.set(view.id, view);
  tell();
}

export function forget(run) {
  live.runs.delete(run);
  tell();
}

/** Newest first. */
export function newestFirst() {
  return [...live.runs.values()].sort((one, other) => other.created - one.created || (one.id < other.id ? 1 : -1));
}

export async function refresh() {
  try {
    const answer = await get(`/v1/runs?limit=${MOST}`);
    live.runs = new Map(answer.runs.map((run) => [run.id, run]));
    live.problems = answer.problems ?? [];
    live.loaded = true;
    live.error = null;
    link(streaming ? "live" : "polling");
  } catch (error) {
    live.error = error;
    link(error.status === 0 ? "offline" : error.status === 401 ? "locked" : live.link);
  }
  tell();
}

/** Begins; runs as long as the page is open. */
export function begin() {
  const forever = new AbortController().signal;
  poll(forever);
  watch(forever);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  for (const change of ["online", "offline"]) addEventListener(change, refresh);
}

/** Tries at once what was refused, with a key that may open more. */
export function reconnect() {
  waiting.abort();
  return refresh();
}

async function poll(signal) {
  for (;;) {
    await refresh();
    await pause(document.hidden ? HIDDEN_POLL : streaming ? REFRESH : POLL, signal);
  }
}

async function watch(signal) {
  for (;;) {
    await follow("/v1/stream?kinds=state", {
      signal,
      onEvent(kind, value) {
        if (kind === "state") learn(value);
        else if (kind === "removed") forget(value.run);
      },
      onLink(state) {
        streaming = state === "live";
        // What the stream says begins with the runs at work; the list has all, once at each connection.
        refresh();
      },
    });
    streaming = false;
    waiting = new AbortController();
    await pause(30000, waiting.signal);
  }
}

function link(state) {
  live.link = state;
}

let telling = false;
function tell() {
  if (telling) return;
  telling = true;
  // Several events in one go are one change.
  queueMicrotask(() => {
    telling = false;
    for (const listener of [...listeners]) listener();
  });
}
