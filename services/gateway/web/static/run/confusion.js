// What was taken for what: the confusion matrix of one verdict, and the figures of its classes.

import { get } from "../api.js";
import { h, put } from "../dom.js";
import * as format from "../format.js";
import { loading, notice } from "../parts.js";

export function confusion(watch) {
  const choice = h("select", { "aria-label": "Verdict", onchange: () => show(choice.value) });
  const body = h("div", { class: "scroll" }, notice("Nothing was judged yet"));
  const element = h("section", { class: "card" }, h("header", { class: "card-head" }, h("h3", null, "Confusion"), choice), body);
  choice.hidden = true;
  let shown = null;
  let followed = true;

  watch.on("evaluations", (evaluations) => {
    const judged = (evaluations ?? []).filter((each) => each.status === "judged").reverse();
    choice.hidden = judged.length === 0;
    if (judged.length === 0) return;
    // The newest verdict on the average is shown until another one is chosen.
    const newest = judged.find((each) => each.weights === "ema") ?? judged[0];
    const values = judged.map((each) => [address(each), `step ${format.count(each.step)}, ${format.weights(each)}`]);
    const wanted = followed ? address(newest) : choice.value;
    put(choice, values.map(([value, text]) => h("option", { value }, text)));
    choice.value = wanted;
    if (shown !== wanted) show(wanted, true);
  });

  async function show(where, following = false) {
    followed = following;
    shown = where;
    if (!body.querySelector("table")) put(body, loading("the verdict"));
    try {
      const verdict = await get(`${watch.path}/evaluations/${where}`, { signal: watch.stopper.signal });
      if (shown === where) put(body, verdict.confusion.length ? matrix(verdict) : notice("This verdict has no matrix"));
    } catch (error) {
      if (error.name !== "AbortError") put(body, notice("The verdict cannot be shown", error.text));
    }
  }
  return { element };
}

const address = (verdict) => `${verdict.step}/${verdict.weights === "raw" ? "raw" : `ema-${verdict.decay}`}`;

function matrix(verdict) {
  const names = verdict.confusion.map((_, index) => verdict.classes[index]?.name ?? String(index));
  const small = names.length <= 20;
  return h(
    "table",
    { class: small ? "matrix" : "matrix dense" },
    h("caption", { class: "unseen" }, `Rows: the class it is; columns: the class it was taken for. Step ${verdict.step}.`),
    h("thead", null, h("tr", null, h("th", { scope: "col", class: "corner" }, "is \\ taken for"), names.map((name) => h("th", { scope: "col", title: name }, h("span", null, name))), h("th", { scope: "col", class: "class-figure" }, h("span", null, "precision")), h("th", { scope: "col", class: "class-figure" }, h("span", null, "recall")))),
    h(
      "tbody",
      null,
      verdict.confusion.map((counts, truth) => {
        const sum = counts.reduce((total, each) => total + each, 0) || 1;
        const figures = verdict.classes[truth];
        return h(
          "tr",
          null,
          h("th", { scope: "row" }, names[truth]),
          counts.map((each, taken) =>
            h(
              "td",
              { class: truth === taken ? "right-one" : "wrong-one", "data-full": each / sum > 0.55, style: { "--share": (each / sum).toFixed(3) }, title: `${names[truth]} taken for ${names[taken]}: ${each} of ${sum}` },
              each === 0 ? h("span", { class: "zero" }, "0") : String(each),
            ),
          ),
          h("td", { class: "class-figure number" }, format.percent(figures?.precision, 0)),
          h("td", { class: "class-figure number" }, format.percent(figures?.recall, 0)),
        );
      }),
    ),
  );
}
