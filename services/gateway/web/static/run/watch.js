// What is known of one run beyond its view: curves, verdicts, checkpoints, events, log lines; kept up to date.

import { ApiError, get, runPath } from "../api.js";
import { live } from "../live.js";
import { follow, pause } from "../stream.js";

const POINTS = 800;
const POLL = 2000;
const MOST_EVENTS = 400;

/** Fetches what changed and tells whoever listens: kinds are series, evaluations, checkpoints, events. */
export class RunWatch {
  constructor(id) {
    this.id = id;
    this.path = runPath(id);
    this.stopper = new AbortController();
    this.listeners = new Map();
    this.series = null;
    this.evaluations = null;
    this.checkpoints = null;
    this.events = null;
    this.streaming = false;
    this.seen = { step: -1, checkpoint: null, verdict: "", state: "" };
  }

  on(kind, listener) {
    this.listeners.set(kind, [...(this.listeners.get(kind) ?? []), listener]);
    if (this[kind]) listener(this[kind]);
  }

  begin() {
    for (const kind of ["series", "evaluations", "checkpoints", "events"]) this.load(kind);
    this.stream();
    this.poll();
  }

  end() {
    this.stopper.abort();
  }

  /** Says how far judging is behind training: for the newest verdict, the steps made and time gone until it was there. */
  lag() {
    const points = lags(this.evaluations, this.series);
    return points.length ? points[points.length - 1] : null;
  }

  /** Looks at the run's view for what must be fetched anew. */
  changed(run) {
    const verdict = (run.latest ?? []).map((each) => `${each.step}${each.weights}${each.decay}`).join();
    const before = this.seen;
    this.seen = { step: run.step, checkpoint: run.checkpoint_step, verdict, state: run.state };
    if (before.step === -1) return;
    if (verdict !== before.verdict) {
      this.load("evaluations");
      this.load("checkpoints");
    } else if (run.checkpoint_step !== before.checkpoint || run.state !== before.state) this.load("checkpoints");
    if (run.state !== before.state && !this.streaming) this.load("events");
  }

  async load(kind) {
    const paths = {
      series: `/series?points=${POINTS}`,
      evaluations: "/evaluations",
      checkpoints: "/checkpoints",
      events: "/events",
    };
    try {
      const answer = await get(this.path + paths[kind], { signal: this.stopper.signal });
      this[kind] = kind === "series" ? answer : answer[kind];
      this.tell(kind);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      // A gateway without this route, or a run that is gone: the run's own view says the latter.
      if (this[kind] === null && error.status !== 0) this.tell(kind);
    }
  }

  tell(kind) {
    for (const listener of this.listeners.get(kind) ?? []) listener(this[kind]);
  }

  async poll() {
    const { signal } = this.stopper;
    let drawn = -1;
    while (!signal.aborted) {
      await pause(document.hidden ? 10 * POLL : POLL, signal);
      const run = live.runs.get(this.id);
      if (signal.aborted || run === undefined || this.streaming || run.step === drawn) continue;
      drawn = run.step;
      await this.load("series");
    }
  }

  async stream() {
    const { signal } = this.stopper;
    const served = await follow(`${this.path}/stream?kinds=series,event`, {
      signal,
      onEvent: (kind, value) => this.take(kind, value),
      onLink: (state) => {
        this.streaming = state === "live";
      },
    });
    this.streaming = false;
    return served;
  }

  take(kind, value) {
    if (kind === "series" && this.series) {
      this.extend(value);
      this.tell("series");
    } else if (kind === "event" && this.events) {
      this.events = [...this.events, value].slice(-MOST_EVENTS);
      this.tell("events");
    }
  }

  /** Puts one point at the end of the columns; a step that was made again takes the place of what followed it. */
  extend(point) {
    const { series } = this;
    while (series.step.length && series.step[series.step.length - 1] >= point.step) {
      for (const column of Object.values(series)) if (Array.isArray(column)) column.pop();
    }
    for (const [name, column] of Object.entries(series)) if (Array.isArray(column)) column.push(point[name] ?? null);
    // So many that they must be thinned out again, which the gateway does without losing a spike.
    if (series.step.length > 3 * POINTS) this.load("series");
  }
}

/** For each judged step, when its first verdict came: how many steps the trainer had made by then, and how long after
 * it had passed that step. */
export function lags(evaluations, series) {
  if (!evaluations || !series || series.step.length === 0) return [];
  const first = new Map();
  for (const each of evaluations) {
    if (each.status === "judged") first.set(each.step, Math.min(each.time, first.get(each.step) ?? Infinity));
  }
  return [...first.entries()]
    .sort(([one], [other]) => one - other)
    .map(([step, time]) => {
      const made = between(series.time, series.step, time);
      const passed = between(series.step, series.time, step);
      return { step, steps: Math.max(0, Math.round(made - step)), seconds: Math.max(0, time - passed) };
    });
}

/** The value at `at` on the line through the points, which rise in `xs`. */
function between(xs, ys, at) {
  let low = 0;
  let high = xs.length - 1;
  if (at <= xs[low]) return ys[low];
  if (at >= xs[high]) return ys[high];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= at) low = middle;
    else high = middle;
  }
  return ys[low] + ((at - xs[low]) / (xs[high] - xs[low] || 1)) * (ys[high] - ys[low]);
}
