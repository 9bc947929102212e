// Small pieces that several pages show.

import { h, mark, say } from "./dom.js";
import * as format from "./format.js";

const MARKS = {
  queued: "○",
  starting: "◔",
  running: "▶",
  pausing: "◑",
  paused: "❚❚",
  stopping: "◑",
  stopped: "■",
  completed: "✓",
  evaluating: "◎",
  restarting: "↻",
  failed: "✕",
};
export const STATES = Object.keys(MARKS);
export const SETTLED = new Set(["stopped", "completed", "failed"]);

/** A state as a word with a mark; colour is never the only sign. */
export function statePill() {
  const sign = h("span", { class: "pill-mark", "aria-hidden": "true" });
  const word = h("span");
  const element = h("span", { class: "pill" }, sign, word);
  return {
    element,
    update(state) {
      mark(element, "data-state", state);
      say(sign, MARKS[state] ?? "•");
      say(word, state);
    },
  };
}

/** How far a run is. */
export function progressBar() {
  const fill = h("span", { class: "progress-fill" });
  const element = h("div", { class: "progress", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  return {
    element,
    update(run) {
      const share = 100 * run.progress;
      mark(element, "aria-label", `progress of ${run.name}`);
      mark(element, "aria-valuenow", Math.floor(share));
      mark(element, "data-state", run.state);
      fill.style.setProperty("--share", `${share.toFixed(2)}%`);
    },
  };
}

/** A precision with its interval, as text and as a whisker on the scale from 0 to 1. */
export function precision(kind) {
  const value = h("span", { class: "number strong" });
  const bounds = h("span", { class: "number hush" });
  const bar = h("span", { class: "whisker", "data-kind": kind, "aria-hidden": "true" }, h("i"), h("b"));
  const element = h("div", { class: "precision" }, h("span", { class: "precision-text" }, value, " ", bounds), bar);
  return {
    element,
    update(verdict) {
      const judged = verdict !== null && verdict !== undefined && verdict.precision_at_1 !== null;
      say(value, judged ? format.percent(verdict.precision_at_1) : format.NONE);
      say(bounds, judged ? format.interval(verdict.interval) : "");
      bar.hidden = !judged;
      mark(element, "title", judged ? `${format.weights(verdict)} at step ${format.count(verdict.step)}, 95% interval` : null);
      if (!judged) return;
      const [low, high] = verdict.interval ?? [verdict.precision_at_1, verdict.precision_at_1];
      bar.style.setProperty("--low", `${100 * low}%`);
      bar.style.setProperty("--high", `${100 * high}%`);
      bar.style.setProperty("--at", `${100 * verdict.precision_at_1}%`);
    },
  };
}

/** The newest verdict on the raw weights, and on the average that is served (the first decay of the spec). */
export function newest(run) {
  const decay = run.spec?.ema?.decays?.[0];
  const latest = run.latest ?? [];
  return {
    raw: latest.find((each) => each.weights === "raw") ?? null,
    ema: latest.find((each) => each.weights === "ema" && (decay === undefined || each.decay === decay)) ?? null,
  };
}

export function labels(values) {
  return Object.entries(values ?? {}).map(([key, value]) => h("span", { class: "label" }, value === "" ? key : `${key}=${value}`));
}

/** What stands where there is nothing, or nothing yet, or something went wrong. */
export function notice(title, text, ...actions) {
  return h("div", { class: "notice" }, h("p", { class: "notice-title" }, title), text && h("p", { class: "hush" }, text), actions);
}

export function loading(what) {
  return h("div", { class: "notice", "aria-busy": "true" }, h("span", { class: "spinner", "aria-hidden": "true" }), h("p", { class: "hush" }, `Loading ${what} …`));
}

export function fact(name, { wide = false } = {}) {
  const value = h("dd", { class: "number" });
  const more = h("dd", { class: "hush number" });
  const element = h("div", { class: wide ? "fact wide" : "fact" }, h("dt", null, name), value, more);
  return {
    element,
    update(text, note = "") {
      say(value, text);
      say(more, note);
    },
  };
}

/** Asks before something is done; resolves to what the form's fields say, or to null.
 * @param fields [{name, label, type, value, hint, options}] */
export function ask({ title, text, action, danger = false, fields = [] }) {
  return new Promise((resolve) => {
    const inputs = fields.map((field) => {
      const control = field.options
        ? h("select", { name: field.name }, field.options.map(([value, words]) => h("option", { value }, words)))
        : h("input", { name: field.name, type: field.type ?? "text", value: field.value, min: field.min, max: field.max, required: field.required, autocomplete: "off" });
      return h("label", { class: "field" }, h("span", null, field.label), control, field.hint && h("span", { class: "hush" }, field.hint));
    });
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "dialog-title" },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        text && h("p", null, text),
        inputs,
        h(
          "div",
          { class: "buttons end" },
          h("button", { type: "button", class: "plain", onclick: () => dialog.close("") }, "Cancel"),
          h("button", { value: "yes", class: danger ? "danger" : "primary" }, action),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      const values = Object.fromEntries(new FormData(dialog.querySelector("form")));
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? values : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
