// The checkpoints of a run: size, verdicts, pins; each can be the beginning of another run.

import { ApiError, post } from "../api.js";
import { h, Keyed, mark, put, say, toast } from "../dom.js";
import * as format from "../format.js";
import { notice } from "../parts.js";
import { allowed } from "../transitions.js";

export function checkpoints(watch, run) {
  const rows = h("tbody");
  const total = h("span", { class: "hush number" });
  const table = h(
    "table",
    { class: "checkpoints" },
    h("caption", { class: "unseen" }, "Checkpoints, newest first"),
    h("thead", null, h("tr", null, ["Step", "EMA", "Raw", "Size", "Written", "Kept", ""].map((text) => h("th", { scope: "col" }, text || h("span", { class: "unseen" }, "What can be done"))))),
    rows,
  );
  const body = h("div", { class: "table-card scroll" }, notice("No checkpoint yet"));
  const element = h("section", { class: "card" }, h("header", { class: "card-head" }, h("h3", null, "Checkpoints"), total), body);
  let verdicts = new Map();
  let forking = false;
  const keyed = new Keyed(rows, { key: (each) => each.step, make: (each) => row(each, { watch, run, verdictOf: (step, kind) => verdicts.get(`${step} ${kind}`), forking: () => forking }) });

  function show() {
    const list = watch.checkpoints;
    if (!list?.length) {
      put(body, notice("No checkpoint yet", "The first is written after as many steps as the spec says."));
      say(total, "");
      return;
    }
    say(total, `${list.length}, ${format.bytes(list.reduce((sum, each) => sum + (each.bytes ?? 0), 0))}`);
    keyed.show([...list].sort((one, other) => other.step - one.step));
    if (table.parentElement !== body) put(body, table);
  }
  watch.on("evaluations", (evaluations) => {
    verdicts = new Map();
    for (const each of evaluations ?? []) {
      const kind = `${each.step} ${each.weights}`;
      if (!verdicts.has(kind)) verdicts.set(kind, each);
    }
    show();
  });
  watch.on("checkpoints", show);
  return {
    element,
    update(view) {
      const now = allowed(view).includes("fork");
      if (now !== forking) {
        forking = now;
        show();
      }
    },
  };
}

function row(first, { watch, run, verdictOf, forking }) {
  const cells = Object.fromEntries(["ema", "raw", "size", "time"].map((name) => [name, h("td", { class: "number" })]));
  const pin = h("button", { type: "button", class: "quiet small", onclick: () => toggle() });
  const fork = h("a", { class: "button quiet small", href: `#/start?fork=${encodeURIComponent(run)}&step=${first.step}` }, "Fork");
  const problem = h("span", { class: "trouble-text" });
  const element = h("tr", null, h("th", { scope: "row", class: "number" }, format.count(first.step), problem), cells.ema, cells.raw, cells.size, cells.time, h("td", null, pin), h("td", null, fork));
  let pinned = first.pinned;

  async function toggle() {
    try {
      await post(`${watch.path}/checkpoints/${first.step}:${pinned ? "unpin" : "pin"}`);
      await watch.load("checkpoints");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(error.text, { trouble: true });
    }
  }

  return {
    element,
    update(each) {
      for (const kind of ["ema", "raw"]) {
        const verdict = verdictOf(each.step, kind);
        say(cells[kind], verdict ? (verdict.status === "judged" ? format.percent(verdict.precision_at_1) : verdict.status) : "…");
        mark(cells[kind], "title", verdict?.problem ?? (verdict?.interval ? `95% interval ${format.interval(verdict.interval)}` : verdict ? null : "not judged yet"));
      }
      say(cells.size, format.bytes(each.bytes));
      say(cells.time, format.shortTime(each.time));
      mark(cells.time, "title", format.time(each.time));
      say(problem, each.problem ? " damaged" : "");
      mark(problem, "title", each.problem);
      pinned = each.pinned ?? false;
      pin.hidden = each.pinned === undefined;
      say(pin, pinned ? "● pinned" : "○ pin");
      mark(pin, "aria-pressed", String(pinned));
      mark(pin, "title", pinned ? "kept until it is unpinned" : "keep it, whatever the retention says");
      fork.hidden = !forking();
    },
  };
}
