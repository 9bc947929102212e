// Which test images flipped right or wrong between two judged kinds of weights, a page of them at a time.

import { ApiError, get } from "../api.js";
import { announce, h, mark, put, say, toast } from "../dom.js";
import * as format from "../format.js";
import { loading, notice } from "../parts.js";
import { fillPictures } from "../pictures.js";
import { pause } from "../stream.js";

const PAGE = 24;
const FIRST = 10 * PAGE;
const ALL = 100_000;
const RETRY = 2000;
const ADDRESS = /^\d+\/(raw|ema(-[\w.+-]+)?)$/;

/** @param options From the page's address: `from` and `to`, each `<step>/<kind>`. */
export function flips(watch, run, options) {
  const from = h("select", { "aria-label": "From", onchange: () => choose() });
  const to = h("select", { "aria-label": "To", onchange: () => choose() });
  const choices = h("div", { class: "flip-choices", hidden: true }, h("label", null, h("span", { class: "hush" }, "from"), from), h("label", null, h("span", { class: "hush" }, "to"), to));
  const body = h("div", { class: "flip-body" }, notice("Nothing was judged yet"));
  const element = h("section", { class: "card flips", "aria-labelledby": "flips-title" }, h("header", { class: "card-head" }, h("h3", { id: "flips-title" }, "Flipped test images"), choices), body);
  const asked = [options.get("from"), options.get("to")];
  let linked = asked.every((each) => ADDRESS.test(each ?? ""));
  let pair = linked ? { from: asked[0], to: asked[1] } : null;
  let untouched = !linked;
  let due = linked;
  let near = false;
  let drawn = null;

  // What nobody looks at is not asked for: the gateway reads two files for each answer, and a picture for each image.
  const observer = new IntersectionObserver(
    (entries) => {
      near = entries.at(-1).isIntersecting;
      if (near && due && !choices.hidden) load();
    },
    { rootMargin: "300px" },
  );
  observer.observe(element);

  function choose() {
    untouched = false;
    pair = { from: from.value, to: to.value };
    history.replaceState(null, "", `#/runs/${encodeURIComponent(run)}?${new URLSearchParams(pair)}`);
    load({ aloud: true });
  }

  const ask = (limit) => get(`${watch.path}/evaluations/${pair.to}/flips?against=${encodeURIComponent(pair.from)}&limit=${limit}`, { signal: watch.stopper.signal });

  async function load({ aloud = false } = {}) {
    const mine = pair;
    due = false;
    if (aloud || drawn === null) put(body, loading("what flipped"));
    try {
      const found = await ask(FIRST);
      if (mine !== pair) return;
      drawn?.stop();
      drawn = comparison(found, { path: watch.path, run, all: () => ask(ALL), touch: () => (untouched = false) });
      put(body, drawn.element);
      if (aloud) announce(`${found.wrong_to_right_count} became right, ${found.right_to_wrong_count} became wrong`);
    } catch (error) {
      if (error.name === "AbortError" || mine !== pair) return;
      if (!(error instanceof ApiError)) throw error;
      drawn?.stop();
      drawn = null;
      put(body, h("div", { role: "alert" }, notice("These two cannot be compared", error.text)));
      if (error.status !== 0) return;
      await pause(RETRY, watch.stopper.signal);
      if (mine === pair && !watch.stopper.signal.aborted) load();
    }
  }

  watch.on("evaluations", (evaluations) => {
    const judged = (evaluations ?? []).filter((each) => each.status === "judged").reverse();
    choices.hidden = judged.length < 2;
    if (judged.length < 2) {
      put(body, judged.length === 0 ? notice("Nothing was judged yet") : notice("One verdict so far", "With the second one there is something to compare."));
      return;
    }
    // The newest average against the one before, until something else is chosen, paged through or stood upon.
    const now = untouched && !body.contains(document.activeElement) ? newestPair(judged) : pair;
    if (now.from !== pair?.from || now.to !== pair?.to) {
      pair = now;
      due = true;
    }
    fill(from, judged, pair.from);
    fill(to, judged, pair.to);
    if (due && (near || linked)) load();
    // The element may not be on the page yet, when what it shows was there before it.
    if (linked) requestAnimationFrame(() => element.scrollIntoView());
    linked = false;
  });

  return {
    element,
    stop() {
      observer.disconnect();
      drawn?.stop();
    },
  };
}

const kindOf = (verdict) => (verdict.weights === "raw" ? "raw" : `ema-${verdict.decay}`);
const address = (verdict) => `${verdict.step}/${kindOf(verdict)}`;
const named = (judged) => `step ${format.count(judged.step)}, ${judged.weights.replace("ema-", "EMA ")}`;

/** Of verdicts, newest first. */
function newestPair(judged) {
  const to = judged.find((each) => each.weights === "ema") ?? judged[0];
  const others = judged.filter((each) => each !== to);
  const from = others.find((each) => kindOf(each) === kindOf(to) && each.step < to.step) ?? others[0];
  return { from: address(from), to: address(to) };
}

function fill(select, judged, value) {
  const kinds = new Map();
  for (const each of judged) kinds.set(format.weights(each), [...(kinds.get(format.weights(each)) ?? []), each]);
  put(
    select,
    [...kinds].map(([kind, verdicts]) => h("optgroup", { label: kind }, verdicts.map((each) => h("option", { value: address(each) }, `step ${format.count(each.step)}, ${kind}`)))),
  );
  select.value = value;
}

/** What an answer says: figures, and two lists of images. */
function comparison(found, { path, run, all, touch }) {
  const trouble = h("p", { class: "trouble-text", role: "status", hidden: true });
  const more = async () => {
    try {
      return await all();
    } catch (error) {
      if (error.name === "AbortError") return null;
      if (!(error instanceof ApiError)) throw error;
      toast(error.text, { trouble: true });
      return null;
    }
  };
  const onTrouble = (text) => {
    trouble.hidden = false;
    say(trouble, `The pictures cannot be shown: ${text}`);
  };
  const lists = [
    ["Became right", "wrong_to_right"],
    ["Became wrong", "right_to_wrong"],
  ].map(([title, name]) => imageList({ title, name, found, path, run, more, touch, onTrouble }));
  const { judged, against } = found;
  const chance = found.wrong_to_right_count + found.right_to_wrong_count ? `; McNemar’s p = ${format.figure(found.p_value)}` : "";
  return {
    element: h(
      "div",
      { class: "flip-found" },
      h(
        "p",
        null,
        h("strong", { class: "number" }, `${format.percent(against.precision_at_1)} → ${format.percent(judged.precision_at_1)}`),
        h("span", { class: "hush" }, ` from ${named(against)} to ${named(judged)}: of ${format.count(found.examples)} test images ${format.count(found.both_right)} stayed right, ${format.count(found.both_wrong)} stayed wrong${chance}.`),
      ),
      trouble,
      h("div", { class: "columns" }, lists.map((each) => each.element)),
    ),
    stop() {
      for (const each of lists) each.stop();
    },
  };
}

function imageList({ title, name, found, path, run, more, touch, onTrouble }) {
  const count = found[`${name}_count`];
  const list = h("ul", { class: "flip-list" });
  const place = h("span", { class: "hush number" });
  const back = h("button", { type: "button", class: "plain small", onclick: () => turn(-PAGE) }, "Previous");
  const on = h("button", { type: "button", class: "plain small", onclick: () => turn(PAGE) }, "Next");
  const pager = h("div", { class: "pager", role: "group", "aria-label": `${title}: pages`, hidden: count <= PAGE }, back, place, on);
  let items = found[name];
  let first = 0;
  let stopper = new AbortController();

  async function turn(by) {
    const wanted = first + by;
    if (wanted < 0 || wanted >= count) return;
    touch();
    if (wanted + PAGE > items.length && items.length < count) items = (await more())?.[name] ?? items;
    if (wanted >= items.length) return;
    first = wanted;
    show();
    announce(`${title}: ${place.textContent}`);
  }

  function show() {
    stopper.abort();
    stopper = new AbortController();
    const shown = items.slice(first, first + PAGE).map((each) => image(each, { found, run }));
    put(list, shown.map((each) => each.element));
    say(place, `${format.count(first + 1)}–${format.count(first + shown.length)} of ${format.count(count)}`);
    // A button that is at its end stays where the keyboard is.
    mark(back, "aria-disabled", String(first === 0));
    mark(on, "aria-disabled", String(first + PAGE >= count));
    fillPictures(shown.map(({ picture, index }) => ({ picture, path: `${path}/examples/${index}` })), { signal: stopper.signal, onTrouble });
  }
  if (count) show();
  return {
    element: h("section", { class: "flip-side" }, h("h4", null, title, " ", h("span", { class: "hush number" }, format.count(count))), count ? list : h("p", { class: "hush" }, "None"), pager),
    stop: () => stopper.abort(),
  };
}

/** One image: what it is, what it was taken for and is now; a link to what any judged weights take it for. */
function image(flip, { found, run }) {
  const name = (number) => found.classes[number] ?? `class ${number}`;
  const picture = h("img", { alt: "", width: 56, height: 56 });
  const taken = (number) => h("span", { class: number === flip.label ? "taken-right" : "taken-wrong" }, name(number));
  const query = new URLSearchParams({ model: `${run}@${found.judged.step}`, run, example: flip.index });
  const words = `Test image ${flip.index}: is ${name(flip.label)}; taken for ${name(flip.before)} before, for ${name(flip.after)} after`;
  return {
    index: flip.index,
    picture,
    element: h(
      "li",
      null,
      h(
        "a",
        { class: "flip", href: `#/classify?${query}`, "aria-label": words, title: words },
        picture,
        h("span", { class: "flip-text" }, h("span", null, h("strong", null, name(flip.label)), h("span", { class: "hush number" }, ` #${flip.index}`)), h("span", { class: "flip-taken" }, taken(flip.before), " → ", taken(flip.after))),
      ),
    ),
  };
}
