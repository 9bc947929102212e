// Numbers, times and sizes as people read them, in the browser's own language and time zone.

const whole = new Intl.NumberFormat();
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

export const NONE = "–";
const missing = (value) => value === null || value === undefined || !Number.isFinite(value);

export const count = (value) => (missing(value) ? NONE : whole.format(Math.round(value)));

/** A share as per cent, with as many digits as an interval of some tenths deserves. */
export const percent = (value, digits = 1) => (missing(value) ? NONE : `${(100 * value).toFixed(digits)}%`);

/** An interval of shares: `85.7–87.1`. */
export const interval = (pair) => (pair ? `${(100 * pair[0]).toFixed(1)}–${(100 * pair[1]).toFixed(1)}` : "");

/** About four figures that count. */
export function figure(value) {
  if (missing(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2);
  if (size >= 1000) return whole.format(Math.round(value));
  return String(Number(value.toPrecision(4)));
}

/** A time span: `12 s`, `4 min 10 s`, `3 h 05 min`, `2 d 4 h`. */
export function span(seconds) {
  if (missing(seconds)) return NONE;
  const all = Math.max(0, Math.round(seconds));
  if (all < 60) return `${all} s`;
  if (all < 3600) return `${Math.floor(all / 60)} min ${String(all % 60).padStart(2, "0")} s`;
  if (all < 86400) return `${Math.floor(all / 3600)} h ${String(Math.floor((all % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(all / 86400)} d ${Math.floor((all % 86400) / 3600)} h`;
}

export function bytes(value) {
  if (missing(value)) return NONE;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(size < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Local date and time of seconds since the epoch. */
export const time = (seconds) => (missing(seconds) ? NONE : moment.format(1000 * seconds));

/** The time alone if it was today, else the day before it. */
export function shortTime(seconds) {
  if (missing(seconds)) return NONE;
  const date = new Date(1000 * seconds);
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

/** `3 min ago`; for the eye, beside a title with the time itself. */
export function ago(seconds, now = Date.now() / 1000) {
  if (missing(seconds)) return NONE;
  const past = Math.max(0, now - seconds);
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  return `${Math.floor(past / 86400)} d ago`;
}

/** The name of weights: `EMA 0.9999` or `raw`. */
export const weights = (verdict) => (verdict.weights === "raw" ? "raw" : `EMA ${verdict.decay ?? ""}`.trim());
