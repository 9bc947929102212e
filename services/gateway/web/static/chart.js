// Curves: uPlot, in the page's colours, as wide as their place, with a legend that says the values at the pointer.

import { h, put } from "./dom.js";
import * as format from "./format.js";

const charts = new Set();
const drawing = () => globalThis.uPlot;

/** The value of a colour of style.css, now. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Draws all again, in other colours. */
export function recolour() {
  for (const chart of charts) chart.rebuild();
}

/** One chart over steps.
 *
 * @param title What it shows; for the heading and for screen readers.
 * @param series [{label, colour (a custom property), width, dash, fill, points, band: [lower, upper], hidden}]; each has
 *   its column in `show`, and a series with `band` is followed by two columns, its bounds.
 * @param value How a value is written.
 */
export class Chart {
  constructor({ title, series, value = format.figure, logarithmic = false, height = 200, from = null, note = "" }) {
    Object.assign(this, { title, series, value, logarithmic, height, from });
    this.data = null;
    this.plot = null;
    this.place = h("div", { class: "plot", role: "img", "aria-label": title });
    this.empty = h("p", { class: "hush plot-empty" }, "Nothing to draw yet");
    this.hint = h("span", { class: "hush" }, note);
    this.reset = h("button", { type: "button", class: "quiet small", hidden: true, onclick: () => this.wholeRange() }, "Show all");
    this.element = h(
      "section",
      { class: "card chart" },
      h("header", { class: "card-head" }, h("h3", null, title), this.hint, this.reset),
      this.place,
    );
    put(this.place, this.empty);
    this.observer = new ResizeObserver(() => this.fit());
    this.observer.observe(this.place);
    charts.add(this);
  }

  /** Columns: steps first, then those of the series. */
  show(data, summary = "") {
    this.data = data;
    this.place.setAttribute("aria-label", summary ? `${this.title}: ${summary}` : this.title);
    if (data[0].length === 0 || drawing() === undefined) {
      this.empty.textContent = drawing() === undefined ? "Curves need the library uPlot, which this gateway lacks" : "Nothing to draw yet";
      this.discard();
      put(this.place, this.empty);
      return;
    }
    if (this.plot === null) this.build();
    else this.plot.setData(data, !this.zoomed);
  }

  /** Other series from now on, as when runs are chosen to be compared. */
  use(series) {
    this.series = series;
    this.discard();
  }

  rebuild() {
    if (this.plot === null) return;
    this.discard();
    this.build();
  }

  remove() {
    this.observer.disconnect();
    this.discard();
    charts.delete(this);
  }

  wholeRange() {
    this.zoomed = false;
    this.reset.hidden = true;
    this.plot?.setData(this.data, true);
  }

  discard() {
    this.plot?.destroy();
    this.plot = null;
  }

  build() {
    if (this.place.clientWidth === 0) return;
    put(this.place);
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: colour("--hush"), grid, ticks: { ...grid, size: 4 }, font: `11px ${colour("--sans")}` };
    const { series, bands } = this.columns();
    this.plot = new (drawing())(
      {
        width: this.place.clientWidth,
        height: this.height,
        padding: [8, 22, 0, 0],
        cursor: { sync: { key: "steps" }, drag: { x: true, y: false }, points: { size: 7 } },
        legend: { live: true, markers: { width: 2 } },
        scales: { x: { time: false }, y: this.scale() },
        axes: [
          { ...axis, size: 28, space: 64, values: (_, splits) => splits.map((each) => shortCount(each)) },
          { ...axis, size: 54, space: 34, values: (_, splits) => splits.map((each) => (each === null ? "" : this.value(each))) },
        ],
        series,
        bands,
        hooks: {
          setSelect: [(plot) => this.zoom(plot)],
          ready: [newestValues],
          setData: [newestValues],
          setCursor: [(plot) => plot.cursor.idx === null && newestValues(plot)],
        },
      },
      this.data,
      this.place,
    );
  }

  scale() {
    if (this.logarithmic) return { distr: 3 };
    return {
      range: (_, low, high) => {
        if (low === null) return [0, 1];
        const room = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
        return [this.from === null ? low - room : Math.min(this.from, low), high + room];
      },
    };
  }

  columns() {
    const series = [{ label: "step", value: (_, value) => (value === null ? format.NONE : format.count(value)) }];
    const bands = [];
    for (const each of this.series) {
      const stroke = colour(each.colour);
      series.push({
        label: each.label,
        stroke,
        width: each.width ?? 2,
        dash: each.dash,
        alpha: each.alpha ?? 1,
        spanGaps: true,
        points: { show: each.points ?? false, size: 5, fill: stroke },
        value: (_, value) => (value === null || value === undefined ? format.NONE : this.value(value)),
        class: "legend-shown",
      });
      if (each.band) {
        const place = series.length;
        const bound = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false }, class: "legend-hidden" };
        series.push({ ...bound, label: `${each.label} low` }, { ...bound, label: `${each.label} high` });
        bands.push({ series: [place + 1, place], fill: alpha(stroke, 0.16) });
      }
    }
    return { series, bands };
  }

  zoom(plot) {
    if (plot.select.width <= 0) return;
    this.zoomed = true;
    this.reset.hidden = false;
  }

  fit() {
    const width = this.place.clientWidth;
    if (width === 0) return;
    if (this.plot === null) {
      if (this.data !== null && this.data[0].length > 0 && drawing() !== undefined) this.build();
    } else if (this.plot.width !== width) this.plot.setSize({ width, height: this.height });
  }
}

/** What the legend says while no pointer asks for a step: the newest values. */
function newestValues(plot) {
  plot.setLegend({ idxs: plot.data.map((column) => column.findLastIndex((value) => value !== null && value !== undefined)) }, false);
}

/** `12k`, `1.5M`: steps on an axis. */
export function shortCount(value) {
  if (value === null) return "";
  if (Math.abs(value) >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (Math.abs(value) >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  return format.figure(value);
}

function alpha(hex, share) {
  return `${hex}${Math.round(255 * share).toString(16).padStart(2, "0")}`;
}
