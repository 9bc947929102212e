// Everything that decides what a run computes.

import { h } from "../dom.js";

export function specification(run) {
  return {
    element: h("details", { class: "card spec" }, h("summary", null, "Specification"), tree(run.spec)),
  };
}

function tree(values) {
  return h(
    "dl",
    { class: "tree" },
    Object.entries(values).map(([name, value]) => [
      h("dt", null, name),
      h("dd", { class: "mono" }, value !== null && typeof value === "object" && !Array.isArray(value) && Object.keys(value).length ? tree(value) : JSON.stringify(value)),
    ]),
  );
}
