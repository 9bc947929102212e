// Drop a picture: what the judged weights take it for.

import { ApiError, get, runPath, send } from "../api.js";
import { h, put, say } from "../dom.js";
import * as format from "../format.js";
import { loading, notice } from "../parts.js";
import { fetchPicture } from "../pictures.js";

const TOP = 10;
const SUITABLE = ["image/png", "image/jpeg", "image/webp"];

export function classifyPage({ options, title }) {
  title("Classify");
  const wanted = options.get("model");
  const model = h("select", { id: "model", onchange: () => { describe(); again(); } });
  const about = h("p", { class: "hush" });
  const file = h("input", { type: "file", id: "picture", accept: SUITABLE.join(), class: "unseen", onchange: () => file.files[0] && take(file.files[0]) });
  const preview = h("img", { class: "preview", alt: "", hidden: true });
  const words = h("span", null, "Drop a picture here, paste one, or ", h("span", { class: "like-link" }, "choose a file"));
  const drop = h("label", { class: "drop", for: "picture" }, file, preview, words);
  const answer = h("div", { class: "answer", "aria-live": "polite" }, notice("No picture yet", "What it is taken for stands here."));
  const element = h(
    "div",
    { class: "page" },
    h("h1", null, "Classify a picture"),
    h("div", { class: "columns" }, h("section", { class: "card pad" }, h("label", { class: "field", for: "model" }, h("span", null, "Judged weights")), model, about, drop), h("section", { class: "card pad" }, answer)),
  );
  let models = [];
  let picture = null;
  let asked = 0;

  for (const kind of ["dragenter", "dragover"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.dataset.over = "yes";
    });
  }
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => delete drop.dataset.over);
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
  const paste = (event) => {
    const [found] = [...(event.clipboardData?.files ?? [])];
    if (found) take(found);
  };
  addEventListener("paste", paste);

  async function loadModels() {
    try {
      models = (await get("/v1/models")).models;
    } catch (error) {
      put(answer, notice("The models cannot be listed", error.text));
      return;
    }
    if (models.length === 0) {
      put(model);
      model.disabled = true;
      say(about, "");
      put(answer, notice("No checkpoint has been judged yet", "As soon as the evaluator has judged and exported one, it can be asked."));
      return;
    }
    put(model, models.map(group));
    // The newest step of a model is called by the model's name alone.
    const offered = [...model.options].map((each) => each.value);
    model.value = [wanted, wanted?.split("@")[0]].find((each) => offered.includes(each)) ?? offered[0];
    describe();
  }

  function describe() {
    const [name, step] = model.value.split("@");
    const found = models.find((each) => each.model === name);
    if (!found) return;
    const judged = step === undefined || Number(step) === found.step ? `, ${format.percent(found.precision_at_1)} on the test set` : "";
    say(about, `${found.name ?? found.run}, step ${format.count(step ?? found.step)}, ${format.weights(found)}${judged}; ${found.classes.length} classes`);
  }

  function take(found) {
    picture = found;
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(found);
    preview.alt = `the picture ${found.name ?? ""}`;
    preview.hidden = false;
    again();
  }

  async function again() {
    if (picture === null || !model.value) return;
    const mine = ++asked;
    put(answer, loading("the answer"));
    const begin = performance.now();
    try {
      const response = await send("POST", `/v1/models/${encodeURIComponent(model.value)}:classify?top=${TOP}`, { body: picture, type: picture.type || "image/png" });
      const result = await response.json();
      if (mine === asked) put(answer, shown(result, performance.now() - begin));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine === asked) put(answer, h("div", { role: "alert" }, notice("It was not recognised", error.text)));
    }
  }

  /** The test image that a link names. */
  async function loadExample() {
    const [run, index] = [options.get("run"), options.get("example")];
    if (run === null || !/^\d+$/.test(index ?? "")) return;
    try {
      const found = await fetchPicture(`${runPath(run)}/examples/${index}`);
      take(new File([found], `test image ${index} of ${run}`, { type: found.type }));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      put(answer, h("div", { role: "alert" }, notice(`Test image ${index} cannot be shown`, error.text)));
    }
  }

  loadModels().then(loadExample);
  return {
    element,
    stop() {
      removeEventListener("paste", paste);
      if (preview.src) URL.revokeObjectURL(preview.src);
    },
  };
}

function group(model) {
  const name = model.model === "best" ? "best of the newest run" : (model.name ?? model.run);
  const own = h("option", { value: model.model }, `${name}: step ${format.count(model.step)}, ${format.percent(model.precision_at_1)}`);
  if (model.model === "best" || (model.steps ?? []).length < 2) return own;
  const others = model.steps.filter((step) => step !== model.step).sort((one, other) => other - one);
  return h("optgroup", { label: model.run }, own, others.map((step) => h("option", { value: `${model.model}@${step}` }, `${name}: step ${format.count(step)}`)));
}

function shown(result, milliseconds) {
  const { classes } = result.predictions[0];
  return h(
    "div",
    null,
    h("p", { class: "verdict" }, h("strong", null, classes[0].label), " ", h("span", { class: "number hush" }, format.percent(classes[0].probability))),
    h(
      "ol",
      { class: "guesses" },
      classes.map((each) => h("li", { style: { "--share": `${100 * each.probability}%` } }, h("span", null, each.label), h("span", { class: "number" }, format.percent(each.probability)))),
    ),
    h("p", { class: "hush number" }, `${format.weights(result)} of step ${format.count(result.step)}, ${result.run}; answered in ${Math.round(milliseconds)} ms`),
  );
}
