// One run: what it is at, its curves, its checkpoints and verdicts, what happened, and what may be asked of it.

import { get, runPath } from "../api.js";
import { announce, h, mark, put, say } from "../dom.js";
import * as format from "../format.js";
import { learn, live, subscribe } from "../live.js";
import { fact, labels, loading, newest, notice, progressBar, SETTLED, statePill } from "../parts.js";
import { checkpoints } from "../run/checkpoints.js";
import { confusion } from "../run/confusion.js";
import { curves } from "../run/curves.js";
import { flips } from "../run/flips.js";
import { journal } from "../run/journal.js";
import { specification } from "../run/specification.js";
import { RunWatch } from "../run/watch.js";
import { buttons } from "../transitions.js";

export function runPage({ id, options, title }) {
  title(id);
  const element = h("div", { class: "page" }, loading("the run"));
  const watch = new RunWatch(id);
  let parts = null;

  function show() {
    const run = live.runs.get(id);
    if (run === undefined) return;
    if (parts === null) {
      title(run.name);
      parts = body(run, watch, options);
      put(element, parts.element);
    }
    parts.update(run);
    watch.changed(run);
  }

  const end = subscribe(show);
  show();
  get(runPath(id)).then(learn, (error) => {
    if (parts === null) put(element, notice("This run cannot be shown", error.text, h("a", { class: "button plain", href: "#/" }, "All runs")));
  });
  watch.begin();
  return {
    element,
    stop() {
      end();
      watch.end();
      parts?.stop();
    },
  };
}

function body(first, watch, options) {
  const pill = statePill();
  const reason = h("p", { class: "hush reason" });
  const tags = h("span", { class: "labels" });
  const origin = h("p", { class: "hush" });
  const actions = buttons();
  const bar = progressBar();
  const facts = figures();
  const failure = h("div", { class: "failure", role: "alert", hidden: true });
  const drawn = curves(watch);
  const table = checkpoints(watch, first.id);
  const matrix = confusion(watch, first.id);
  const flipped = flips(watch, first.id, options);
  const happened = journal(watch, first.id);
  const spec = specification(first);
  const element = h(
    "div",
    { class: "run-page" },
    h(
      "div",
      { class: "run-head" },
      h("div", { class: "run-title" }, h("div", { class: "title-line" }, h("h1", null, first.name), pill.element, tags), h("p", { class: "run-id" }, first.id), reason, origin),
      actions.element,
    ),
    failure,
    bar.element,
    facts.element,
    drawn.element,
    h("div", { class: "columns" }, table.element, matrix.element),
    flipped.element,
    happened.element,
    spec.element,
  );
  let said = null;
  let tagged = "";
  return {
    element,
    update(run) {
      pill.update(run.state);
      say(reason, run.reason);
      if (said !== null && said !== run.state) announce(`${run.name} is ${run.state}: ${run.reason}`);
      said = run.state;
      const now = JSON.stringify(run.labels);
      if (now !== tagged) put(tags, labels(run.labels));
      tagged = now;
      if (run.forked_from && !origin.firstChild) {
        put(origin, "forked from ", h("a", { href: `#/runs/${encodeURIComponent(run.forked_from.run)}` }, run.forked_from.run), ` at step ${format.count(run.forked_from.step)}`);
      }
      actions.update(run);
      bar.update(run);
      facts.update(run, watch.lag());
      failure.hidden = run.failure === null;
      if (run.failure) put(failure, h("strong", null, run.failure.message ?? "failed"), run.failure.where && h("span", { class: "mono" }, run.failure.where), run.failure.hint && h("span", null, run.failure.hint));
      table.update(run);
      mark(element, "data-settled", SETTLED.has(run.state));
    },
    stop() {
      drawn.stop();
      flipped.stop();
      happened.stop();
    },
  };
}

function figures() {
  const parts = {
    steps: fact("Steps"),
    left: fact("Left"),
    ema: fact("EMA precision"),
    raw: fact("Raw precision"),
    loss: fact("Loss, averaged"),
    rate: fact("Learning rate"),
    speed: fact("Examples/s"),
    lag: fact("Evaluation lag"),
    time: fact("Trained for"),
  };
  return {
    element: h("dl", { class: "facts" }, Object.values(parts).map((each) => each.element)),
    update(run, lag) {
      const { ema, raw } = newest(run);
      parts.steps.update(format.count(run.step), `of ${format.count(run.steps)}`);
      parts.left.update(format.span(run.eta_seconds), `${format.percent(run.progress, 0)} done`);
      parts.ema.update(format.percent(ema?.precision_at_1), ema ? `${format.interval(ema.interval)} · step ${format.count(ema.step)}` : "not judged yet");
      parts.raw.update(format.percent(raw?.precision_at_1), raw ? `${format.interval(raw.interval)} · step ${format.count(raw.step)}` : "not judged yet");
      parts.loss.update(format.figure(run.average_loss), run.loss === null ? "" : `last ${format.figure(run.loss)}`);
      parts.rate.update(format.figure(run.learning_rate));
      parts.speed.update(run.examples_per_second === null ? format.NONE : format.count(run.examples_per_second));
      parts.lag.update(lag ? `${format.count(lag.steps)} steps` : format.NONE, lag?.seconds ? format.span(lag.seconds) : "");
      parts.time.update(format.span(run.wall_seconds), run.restarts ? `${run.restarts} restarts` : "");
    },
  };
}
