// Start a run from a recipe, or fork one: a form made of the API's own schema, checked by the API as it is filled in.

import { ApiError, get, post, runPath } from "../api.js";
import { h, put, say } from "../dom.js";
import * as format from "../format.js";
import { learn } from "../live.js";
import { loading, notice } from "../parts.js";
import { SpecForm } from "../spec-form.js";

const WAIT = 250;

export function startPage({ options, title }) {
  const parent = options.get("fork");
  const step = options.get("step");
  title(parent ? "Fork" : "Start");
  const body = h("div", { class: "page" }, loading("the form"));
  const element = h("div", { class: "page narrow" }, h("h1", null, parent ? "Fork a run" : "Start a run"), body);
  build(body, { parent, step: step === null ? null : Number(step) }).catch((error) => {
    if (!(error instanceof ApiError)) throw error;
    put(body, notice("The form cannot be shown", error.text));
  });
  return { element };
}

async function build(body, { parent, step }) {
  const [schema, list, origin, kept] = await Promise.all([
    get("/v1/specs/schema"),
    get("/v1/recipes"),
    parent ? get(runPath(parent)) : null,
    parent ? get(`${runPath(parent)}/checkpoints`) : null,
  ]);
  const usable = list.recipes.filter((each) => each.problem === null);
  let base = { recipe: parent ? null : (usable.find((each) => each.name === "shapes") ?? usable[0])?.name ?? null, spec: null };
  let timer = null;
  let asked = 0;

  const form = new SpecForm(schema, { changed: () => later() });
  const trouble = h("div", { class: "failure", role: "alert", hidden: true });
  const changes = h("p", { class: "hush", "aria-live": "polite" });
  const submit = h("button", { class: "primary", type: "submit" }, parent ? "Fork" : "Start");
  const priority = h("input", { type: "number", step: 1, value: 0, id: "priority" });
  const choice = parent ? checkpointChoice(kept.checkpoints, step) : recipeChoice(list.recipes, base.recipe, (name) => choose(name));
  const whole = h(
    "form",
    { class: "page", novalidate: true, onsubmit: (event) => { event.preventDefault(); start(); } },
    parent && h("p", null, "It begins with the weights of ", h("a", { href: `#/runs/${encodeURIComponent(parent)}` }, origin.name), " and goes on as is said here."),
    choice.element,
    trouble,
    form.element,
    h("div", { class: "submit card" }, changes, h("label", { class: "inline", for: "priority" }, "Priority in the queue", priority), submit),
  );
  put(body, whole);
  await choose(base.recipe);

  async function choose(recipe) {
    base = { recipe, spec: null };
    const answer = await check({});
    if (answer.spec === null) return show(answer);
    base.spec = answer.spec;
    form.fill(answer.spec);
    show(answer);
  }

  function check(spec) {
    return post("/v1/specs:check", { recipe: base.recipe, run: parent, spec });
  }

  function later() {
    clearTimeout(timer);
    timer = setTimeout(verify, WAIT);
  }

  async function verify() {
    const mine = ++asked;
    try {
      const answer = await check(form.changes(base.spec));
      if (mine === asked) show(answer);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (mine === asked) fail(error);
    }
  }

  function show({ problems }) {
    const left = form.showProblems(problems);
    trouble.hidden = left.length === 0;
    put(trouble, left.map((each) => h("span", null, each.field ? `${each.field}: ${each.message}` : each.message)));
    submit.disabled = false;
    const number = base.spec === null ? 0 : form.changed(base.spec).length;
    say(changes, problems.length ? `${problems.length === 1 ? "One field is" : `${problems.length} fields are`} not right yet` : number === 0 ? "As the recipe says" : `${number} ${number === 1 ? "value differs" : "values differ"} from ${parent ? "the run" : "the recipe"}`);
  }

  function fail(error) {
    trouble.hidden = false;
    put(trouble, h("strong", null, error.message), error.where && h("span", { class: "mono" }, error.where), error.hint && h("span", null, error.hint));
    trouble.scrollIntoView({ block: "nearest" });
  }

  async function start() {
    clearTimeout(timer);
    submit.disabled = true;
    const spec = form.changes(base.spec);
    try {
      const answer = await check(spec);
      show(answer);
      if (answer.problems.length) {
        form.focusFirst();
        return;
      }
      const rank = Number(priority.value) ? { priority: Number(priority.value) } : {};
      // One press makes one run, however often the browser has to send it.
      const more = { "Idempotency-Key": key() };
      const run = parent
        ? await post(`${runPath(parent)}:fork`, { step: choice.value(), spec, ...rank }, { more })
        : await post("/v1/runs", { recipe: base.recipe, spec, ...rank }, { more });
      learn(run);
      location.hash = `#/runs/${encodeURIComponent(run.id)}`;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fail(error);
    } finally {
      submit.disabled = false;
    }
  }
}

// crypto.randomUUID is there only over HTTPS and on localhost; a gateway in a house network has neither.
function key() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((each) => each.toString(16).padStart(2, "0")).join("");
}

function recipeChoice(recipes, chosen, choose) {
  return {
    element: h(
      "fieldset",
      { class: "recipes" },
      h("legend", null, "Recipe"),
      recipes.map((recipe) =>
        h(
          "label",
          { class: "recipe", title: recipe.problem },
          h("input", { type: "radio", name: "recipe", value: recipe.name, checked: recipe.name === chosen, disabled: recipe.problem !== null, onchange: () => choose(recipe.name) }),
          h("span", { class: "strong" }, recipe.name),
          h("span", { class: "hush number" }, recipe.problem ? "cannot be used" : summary(recipe.values)),
        ),
      ),
    ),
  };
}

function summary(values) {
  return [values.dataset?.kind, values.model?.name, values.steps && `${format.count(values.steps)} steps`].filter(Boolean).join(" · ");
}

function checkpointChoice(checkpoints, step) {
  const newestFirst = [...checkpoints].sort((one, other) => other.step - one.step);
  const select = h("select", { id: "checkpoint" }, newestFirst.map((each) => h("option", { value: each.step, selected: each.step === step }, `step ${format.count(each.step)}, ${format.time(each.time)}`)));
  return {
    element: h("div", { class: "field" }, h("label", { for: "checkpoint" }, "Checkpoint"), select),
    value: () => Number(select.value),
  };
}
