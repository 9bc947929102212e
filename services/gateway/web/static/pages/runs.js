// All runs: what they are at, how good they are; filtered, chosen, compared, steered many at a time.

import { h, Keyed, mark, put, say } from "../dom.js";
import * as format from "../format.js";
import { live, newestFirst, subscribe } from "../live.js";
import { labels, loading, newest, notice, precision, progressBar, SETTLED, statePill, STATES } from "../parts.js";
import { allowed, carryOutMany } from "../transitions.js";

const BULK = ["pause", "resume", "stop", "kill", "restart", "delete"];

export function runsPage({ options, title }) {
  title("Runs");
  const chosen = new Set();
  const wanted = { text: options.get("q") ?? "", state: options.get("state") ?? "" };

  const search = h("input", {
    type: "search",
    class: "search",
    placeholder: "Name, id or label …",
    "aria-label": "Filter by name, id or label",
    value: wanted.text,
    oninput: () => filter({ text: search.value }),
  });
  const chips = new Map(["", ...STATES].map((state) => [state, chip(state)]));
  const summary = h("div", { class: "facts", role: "group", "aria-label": "At a glance" });
  const tiles = glance(summary);
  const rows = h("tbody");
  const all = h("input", { type: "checkbox", "aria-label": "Choose all shown runs", onchange: () => chooseAll(all.checked) });
  const table = h(
    "table",
    { class: "runs" },
    h("caption", { class: "unseen" }, "Runs, newest first"),
    h("thead", null, h("tr", null, h("th", { scope: "col", class: "pick" }, all), HEADS.map(([text, kind]) => h("th", { scope: "col", class: kind }, text)))),
    rows,
  );
  const body = h("div", { class: "card table-card" }, loading("runs"));
  const bulk = h("div", { class: "bulk", role: "group", "aria-label": "Chosen runs", hidden: true });
  const troubles = h("div", { class: "problems" });
  const element = h(
    "div",
    { class: "page" },
    h("div", { class: "page-head" }, h("h1", null, "Runs"), h("a", { class: "button primary", href: "#/start" }, "Start a run")),
    summary,
    h("div", { class: "filters" }, search, h("div", { class: "chips", role: "group", "aria-label": "Filter by state" }, [...chips.values()])),
    bulk,
    body,
    troubles,
  );
  const keyed = new Keyed(rows, { key: (run) => run.id, make: (run) => row(run, { chosen, choose }) });

  function chip(state) {
    const number = h("span", { class: "chip-count number" });
    const button = h("button", { type: "button", class: "chip", "data-state": state || null, onclick: () => filter({ state }) }, state || "all", number);
    button.number = number;
    return button;
  }

  function filter(change) {
    Object.assign(wanted, change);
    const query = new URLSearchParams();
    if (wanted.text) query.set("q", wanted.text);
    if (wanted.state) query.set("state", wanted.state);
    history.replaceState(null, "", query.size ? `#/?${query}` : "#/");
    show();
  }

  function choose(id, is) {
    if (is) chosen.add(id);
    else chosen.delete(id);
    showBulk();
  }

  function chooseAll(is) {
    for (const run of shownRuns()) choose(run.id, is);
    show();
  }

  function shownRuns() {
    const text = wanted.text.toLowerCase();
    return newestFirst().filter((run) => (!wanted.state || run.state === wanted.state) && (!text || haystack(run).includes(text)));
  }

  function show() {
    if (!live.loaded) {
      if (live.error) put(body, notice("The runs cannot be shown", live.error.text));
      return;
    }
    const everything = [...live.runs.values()];
    tiles(everything);
    for (const [state, button] of chips) {
      const number = state === "" ? everything.length : everything.filter((run) => run.state === state).length;
      say(button.number, String(number));
      button.hidden = state !== "" && number === 0 && wanted.state !== state;
      mark(button, "aria-pressed", String(wanted.state === state));
    }
    const runs = shownRuns();
    for (const id of chosen) if (!live.runs.has(id)) chosen.delete(id);
    if (everything.length === 0) {
      put(body, notice("No runs yet", "Start one from a recipe; “shapes” needs no download and takes a few minutes.", h("a", { class: "button primary", href: "#/start" }, "Start a run")));
    } else if (runs.length === 0) {
      put(body, notice("No run fits the filter", null, h("button", { type: "button", class: "plain", onclick: reset }, "Show all")));
    } else {
      keyed.show(runs);
      if (table.parentElement !== body) put(body, table);
    }
    put(troubles, live.problems.map((problem) => h("p", { class: "problem" }, `Run ${problem.run} cannot be shown: ${problem.message}`)));
    showBulk();
  }

  function reset() {
    search.value = "";
    filter({ text: "", state: "" });
  }

  function showBulk() {
    const runs = [...chosen].map((id) => live.runs.get(id)).filter(Boolean);
    const shown = shownRuns();
    all.checked = runs.length > 0 && shown.every((run) => chosen.has(run.id));
    all.indeterminate = runs.length > 0 && !all.checked;
    bulk.hidden = runs.length === 0;
    const possible = BULK.filter((name) => runs.some((run) => allowed(run).includes(name)));
    const signature = `${runs.length}:${possible}`;
    if (bulk.dataset.shown === signature) return;
    bulk.dataset.shown = signature;
    put(
      bulk,
      h("span", { class: "number" }, `${runs.length} chosen`),
      runs.length >= 2 && h("a", { class: "button plain", href: `#/compare?runs=${runs.map((run) => encodeURIComponent(run.id)).join(",")}` }, "Compare"),
      possible.map((name) =>
        h("button", { type: "button", class: name === "kill" || name === "delete" ? "danger" : "plain", onclick: () => carryOutMany(name, [...chosen].map((id) => live.runs.get(id)).filter((run) => run && allowed(run).includes(name))) }, capital(name)),
      ),
      h("button", { type: "button", class: "quiet", onclick: () => { chosen.clear(); show(); } }, "Choose none"),
    );
  }

  const end = subscribe(show);
  const clock = setInterval(show, 30000);
  show();
  return {
    element,
    stop() {
      end();
      clearInterval(clock);
    },
  };
}

const HEADS = [
  ["Run", ""],
  ["State", ""],
  ["Progress", ""],
  ["Left", "right"],
  ["EMA precision", ""],
  ["Raw precision", ""],
  ["Loss", "right"],
  ["Made", "right"],
];

const haystack = (run) => `${run.name} ${run.id} ${Object.entries(run.labels).map(([key, value]) => `${key}=${value}`).join(" ")}`.toLowerCase();
const capital = (text) => text[0].toUpperCase() + text.slice(1);

function glance(summary) {
  const make = (name) => {
    const value = h("span", { class: "tile-value number" });
    const note = h("span", { class: "tile-note" });
    summary.append(h("div", { class: "tile" }, h("span", { class: "tile-name" }, name), value, note));
    return (text, more = "") => {
      say(value, text);
      say(note, more);
    };
  };
  const working = make("At work");
  const waiting = make("Waiting");
  const best = make("Best EMA precision");
  const speed = make("Speed");
  return (runs) => {
    const at = runs.filter((run) => !SETTLED.has(run.state));
    const busy = at.filter((run) => !["queued", "paused"].includes(run.state));
    working(String(busy.length), busy.map((run) => run.name).slice(0, 3).join(", "));
    const queued = at.filter((run) => run.state === "queued").length;
    const paused = at.filter((run) => run.state === "paused").length;
    waiting(String(queued), paused ? `and ${paused} paused` : "");
    const top = runs.filter((run) => run.best).sort((one, other) => other.best.precision_at_1 - one.best.precision_at_1)[0];
    best(top ? format.percent(top.best.precision_at_1) : format.NONE, top ? `${top.name}, step ${format.count(top.best.step)}` : "");
    const rate = at.reduce((sum, run) => sum + (run.examples_per_second ?? 0), 0);
    speed(rate ? format.figure(Math.round(rate)) : format.NONE, rate ? "examples/s" : "");
  };
}

function row(first, { chosen, choose }) {
  const pick = h("input", { type: "checkbox", "aria-label": `Choose ${first.name}`, onchange: () => choose(first.id, pick.checked) });
  const link = h("a", { href: `#/runs/${encodeURIComponent(first.id)}`, class: "run-name" }, first.name);
  const tags = h("span", { class: "labels" });
  const pill = statePill();
  const bar = progressBar();
  const steps = h("span", { class: "number hush" });
  const left = h("td", { class: "number right", "data-head": "Left" });
  const ema = precision("ema");
  const raw = precision("raw");
  const loss = h("td", { class: "number right", "data-head": "Loss" });
  const made = h("td", { class: "number right hush", "data-head": "Made" });
  const element = h(
    "tr",
    null,
    h("td", { class: "pick" }, pick),
    h("th", { scope: "row", class: "run-cell" }, link, h("span", { class: "run-id" }, first.id), tags),
    h("td", { "data-head": "State" }, pill.element),
    h("td", { class: "progress-cell", "data-head": "Progress" }, bar.element, steps),
    left,
    h("td", { "data-head": "EMA" }, ema.element),
    h("td", { "data-head": "Raw" }, raw.element),
    loss,
    made,
  );
  let tagged = "";
  return {
    element,
    update(run) {
      pick.checked = chosen.has(run.id);
      mark(element, "data-state", run.state);
      pill.update(run.state);
      mark(pill.element, "title", run.reason);
      bar.update(run);
      say(steps, `${format.count(run.step)} of ${format.count(run.steps)}`);
      say(left, run.eta_seconds !== null ? format.span(run.eta_seconds) : run.position ? `no. ${run.position}` : format.NONE);
      const { ema: averaged, raw: plain } = newest(run);
      ema.update(averaged);
      raw.update(plain);
      say(loss, format.figure(run.average_loss ?? run.loss));
      say(made, format.ago(run.created));
      mark(made, "title", format.time(run.created));
      const now = JSON.stringify(run.labels);
      if (now !== tagged) {
        tagged = now;
        put(tags, labels(run.labels));
      }
    },
  };
}
