// The curves of one run: loss, precision of the averaged against the raw weights, rate, evaluation lag, speed.

import { Chart } from "../chart.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { lags } from "./watch.js";

const EMA = ["--ema", "--ema-2", "--ema-3", "--ema-4"];

export function curves(watch) {
  const loss = new Chart({
    title: "Loss",
    height: 240,
    series: [
      { label: "each", colour: "--loss-faint", width: 1 },
      { label: "averaged", colour: "--loss", width: 2 },
    ],
  });
  const quality = new Chart({ title: "Precision at 1", height: 240, value: (value) => format.percent(value), series: [], note: "with 95% intervals" });
  const rate = new Chart({ title: "Learning rate", height: 150, from: 0, series: [{ label: "rate", colour: "--rate", width: 2 }] });
  const behind = new Chart({
    title: "Evaluation lag",
    height: 150,
    from: 0,
    note: "steps made until the verdict was there",
    series: [{ label: "steps", colour: "--lag", points: true }],
  });
  const speed = new Chart({ title: "Examples per second", height: 150, from: 0, series: [{ label: "examples/s", colour: "--speed", width: 1.5 }] });
  const all = [quality, loss, rate, behind, speed];

  let kinds = "";
  watch.on("evaluations", (evaluations) => {
    const table = byKind(evaluations ?? []);
    if (table.kinds.join() !== kinds) {
      kinds = table.kinds.join();
      let ema = 0;
      quality.use(table.kinds.map((kind) => ({ label: kind, colour: kind === "raw" ? "--raw" : EMA[ema++ % EMA.length], points: true, band: true })));
    }
    const last = table.columns.length > 1 ? table.kinds.map((kind, place) => `${kind} ${format.percent(table.columns[1 + 3 * place].at(-1))}`).join(", ") : "";
    quality.show(table.columns, last);
  });
  const lag = () => {
    const points = lags(watch.evaluations, watch.series);
    behind.show([points.map((each) => each.step), points.map((each) => each.steps)], points.length ? `last ${points.at(-1).steps} steps` : "");
  };
  watch.on("evaluations", lag);
  watch.on("series", (series) => {
    if (series === null) return;
    loss.show([series.step, series.loss, series.average_loss], `last ${format.figure(series.average_loss.at(-1))}`);
    rate.show([series.step, series.learning_rate], `last ${format.figure(series.learning_rate.at(-1))}`);
    speed.show([series.step, series.examples_per_second], `last ${format.figure(series.examples_per_second.at(-1))}`);
    lag();
  });
  return {
    element: h(
      "section",
      { class: "curves", "aria-label": "Curves" },
      h("div", { class: "curves-large" }, quality.element, loss.element),
      h("div", { class: "curves-small" }, rate.element, behind.element, speed.element),
    ),
    stop() {
      for (const chart of all) chart.remove();
    },
  };
}

/** Verdicts as columns: steps, then for each kind of weights precision, lower and upper bound. The averages first. */
export function byKind(evaluations) {
  const judged = evaluations.filter((each) => each.status === "judged" && each.precision_at_1 !== null);
  const kinds = [...new Set(judged.map(format.weights))].sort((one, other) => (one === "raw") - (other === "raw") || (one < other ? 1 : -1));
  const steps = [...new Set(judged.map((each) => each.step))].sort((one, other) => one - other);
  const place = new Map(steps.map((step, index) => [step, index]));
  const columns = [steps];
  for (const kind of kinds) {
    const three = [0, 1, 2].map(() => new Array(steps.length).fill(null));
    for (const each of judged) {
      if (format.weights(each) !== kind) continue;
      const values = [each.precision_at_1, ...(each.interval ?? [null, null])];
      values.forEach((value, index) => {
        three[index][place.get(each.step)] = value;
      });
    }
    columns.push(...three);
  }
  return { kinds, columns };
}
