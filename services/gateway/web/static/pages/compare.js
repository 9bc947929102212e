// Runs beside each other: their curves in one picture each, and what their specifications differ in.

import { get, runPath } from "../api.js";
import { Chart } from "../chart.js";
import { h, put } from "../dom.js";
import * as format from "../format.js";
import { live, newestFirst, subscribe } from "../live.js";
import { loading, newest, notice, statePill } from "../parts.js";

const COLOURS = ["--run-1", "--run-2", "--run-3", "--run-4", "--run-5", "--run-6", "--run-7", "--run-8"];
const POINTS = 400;
const AGAIN = 5000;

export function comparePage({ options, title }) {
  title("Compare");
  let ids = read(options);
  const data = new Map();
  const stopper = new AbortController();
  const choice = h("fieldset", { class: "card choice" }, h("legend", { class: "unseen" }, "Runs to compare"));
  const kind = h("select", { "aria-label": "Weights", onchange: draw }, h("option", { value: "ema" }, "EMA weights"), h("option", { value: "raw" }, "raw weights"));
  const quality = new Chart({ title: "Precision at 1", height: 280, value: (value) => format.percent(value), series: [], note: "with 95% intervals" });
  const loss = new Chart({ title: "Loss, averaged", height: 280, series: [] });
  const table = h("div", { class: "card scroll" });
  const body = h("div", { class: "page" });
  quality.element.querySelector(".card-head").append(kind);
  const element = h("div", { class: "page" }, h("h1", null, "Compare runs"), choice, body);
  let drawn = "";

  function read(query) {
    return (query.get("runs") ?? "").split(",").filter(Boolean).map(decodeURIComponent);
  }

  function show() {
    if (!live.loaded) {
      put(choice, loading("runs"));
      return;
    }
    const runs = newestFirst();
    const signature = runs.map((run) => run.id).join() + ids.join();
    if (choice.dataset.shown !== signature) {
      choice.dataset.shown = signature;
      const focused = document.activeElement?.value;
      put(choice, h("legend", { class: "unseen" }, "Runs to compare"), runs.length === 0 && notice("No runs yet"), runs.map(option));
      if (focused) [...choice.querySelectorAll("input")].find((each) => each.value === focused)?.focus();
    }
    draw();
  }

  function option(run) {
    const place = ids.indexOf(run.id);
    const box = h("input", { type: "checkbox", value: run.id, checked: place >= 0, disabled: place < 0 && ids.length >= COLOURS.length, onchange: () => toggle(run.id) });
    return h("label", { class: "choice-run", style: place >= 0 ? { "--own": `var(${COLOURS[place]})` } : {} }, box, h("span", { class: "swatch" }), h("span", null, run.name), h("span", { class: "hush number" }, format.ago(run.created)));
  }

  function toggle(id) {
    ids = ids.includes(id) ? ids.filter((each) => each !== id) : [...ids, id];
    history.replaceState(null, "", ids.length ? `#/compare?runs=${ids.map(encodeURIComponent).join(",")}` : "#/compare");
    show();
    load();
  }

  async function load() {
    await Promise.all(
      ids.map(async (id) => {
        const run = live.runs.get(id);
        const known = data.get(id);
        if (known && run && known.step === run.step && known.judged === JSON.stringify(run.latest)) return;
        try {
          const options = { signal: stopper.signal };
          const [series, evaluations] = await Promise.all([get(`${runPath(id)}/series?points=${POINTS}`, options), get(`${runPath(id)}/evaluations`, options)]);
          data.set(id, { series, evaluations: evaluations.evaluations, step: run?.step, judged: JSON.stringify(run?.latest) });
        } catch (error) {
          if (error.name !== "AbortError" && error.status === 404) data.set(id, { series: null, evaluations: [] });
        }
      }),
    );
    drawn = "";
    draw();
  }

  function draw() {
    const runs = ids.map((id) => live.runs.get(id)).filter(Boolean);
    if (runs.length === 0) {
      if (body.dataset.state !== "none") put(body, h("div", { class: "card" }, notice("Choose runs above", "Their curves are laid over each other, and their specifications beside each other.")));
      body.dataset.state = "none";
      return;
    }
    if (body.dataset.state !== "some") put(body, h("div", { class: "curves-large" }, quality.element, loss.element), table);
    body.dataset.state = "some";
    put(table, facts(runs, ids));
    const signature = `${ids}|${kind.value}|${ids.map((id) => `${data.get(id)?.series?.step.length}:${data.get(id)?.evaluations.length}`)}`;
    if (signature === drawn) return;
    drawn = signature;
    const named = runs.map((run) => ({ run, colour: COLOURS[ids.indexOf(run.id)], ...data.get(run.id) }));
    const labels = unique(named.map((each) => each.run));
    quality.use(named.map((each, place) => ({ label: labels[place], colour: each.colour, points: true, band: true })));
    quality.show(joined(named.map((each) => verdicts(each, kind.value)), 3));
    loss.use(named.map((each, place) => ({ label: labels[place], colour: each.colour })));
    loss.show(joined(named.map((each) => [each.series?.step ?? [], each.series?.average_loss ?? []]), 1));
  }

  const end = subscribe(show);
  const timer = setInterval(load, AGAIN);
  show();
  load();
  return {
    element,
    options(query) {
      ids = read(query);
      show();
      load();
    },
    stop() {
      end();
      clearInterval(timer);
      stopper.abort();
      quality.remove();
      loss.remove();
    },
  };
}

/** Names, told apart by the end of the id where two are the same. */
function unique(runs) {
  return runs.map((run) => (runs.filter((each) => each.name === run.name).length > 1 ? `${run.name} ${run.id.slice(-4)}` : run.name));
}

function verdicts({ run, evaluations }, weights) {
  const decay = run.spec.ema.decays[0];
  const found = (evaluations ?? []).filter((each) => each.status === "judged" && each.weights === weights && (weights === "raw" || each.decay === decay));
  return [found.map((each) => each.step), found.map((each) => each.precision_at_1), found.map((each) => each.interval?.[0] ?? null), found.map((each) => each.interval?.[1] ?? null)];
}

/** Several tables over their own steps as one over all steps. */
function joined(tables, width) {
  const steps = [...new Set(tables.flatMap(([each]) => each))].sort((one, other) => one - other);
  const place = new Map(steps.map((step, index) => [step, index]));
  const columns = [steps];
  for (const [own, ...values] of tables) {
    for (let number = 0; number < width; number += 1) {
      const column = new Array(steps.length).fill(undefined);
      own.forEach((step, index) => {
        column[place.get(step)] = values[number][index];
      });
      columns.push(column);
    }
  }
  return columns;
}

function facts(runs, ids) {
  const specs = runs.map((run) => flat(run.spec));
  const keys = [...new Set(specs.flatMap((spec) => [...spec.keys()]))].filter((key) => key !== "name" && new Set(specs.map((spec) => spec.get(key))).size > 1);
  const line = (name, value, mark = false) => h("tr", null, h("th", { scope: "row", class: mark ? "mono" : "hush" }, name), runs.map((run, place) => h("td", { class: "number" }, value(run, place))));
  return h(
    "table",
    { class: "facts-table" },
    h("caption", { class: "unseen" }, "The runs beside each other"),
    h("thead", null, h("tr", null, h("td"), runs.map((run) => h("th", { scope: "col" }, h("a", { href: `#/runs/${encodeURIComponent(run.id)}`, class: "own", style: { "--own": `var(${COLOURS[ids.indexOf(run.id)]})` } }, run.name))))),
    h(
      "tbody",
      null,
      line("state", (run) => {
        const pill = statePill();
        pill.update(run.state);
        return pill.element;
      }),
      line("steps made", (run) => `${format.count(run.step)} of ${format.count(run.steps)}`),
      line("EMA precision", (run) => withInterval(newest(run).ema)),
      line("raw precision", (run) => withInterval(newest(run).raw)),
      line("best", (run) => (run.best ? `${format.percent(run.best.precision_at_1)} at step ${format.count(run.best.step)}` : format.NONE)),
      line("loss, averaged", (run) => format.figure(run.average_loss)),
      keys.length === 0 && runs.length > 1 && h("tr", null, h("td", { colspan: runs.length + 1, class: "hush" }, "Their specifications are the same.")),
      keys.sort().map((key) => line(key, (_, place) => h("span", { class: "mono" }, specs[place].get(key) ?? format.NONE), true)),
    ),
  );
}

const withInterval = (verdict) => (verdict?.precision_at_1 === undefined || verdict?.precision_at_1 === null ? format.NONE : [format.percent(verdict.precision_at_1), " ", h("span", { class: "hush" }, format.interval(verdict.interval))]);

function flat(values, path = "", found = new Map()) {
  for (const [key, value] of Object.entries(values)) {
    const name = path ? `${path}.${key}` : key;
    if (value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length) flat(value, name, found);
    else found.set(name, JSON.stringify(value));
  }
  return found;
}
