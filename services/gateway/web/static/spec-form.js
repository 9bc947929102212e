// A form for a specification, made of its JSON schema: a part for each mapping, a field for each key, with its limits.

import { h, mark, put, say } from "./dom.js";

/** @param changed Called after each change of a field. */
export class SpecForm {
  constructor(schema, { changed }) {
    this.schema = schema;
    this.changedHook = changed;
    this.fields = new Map();
    this.element = h("div", { class: "spec-form" });
  }

  /** Shows a whole specification. */
  fill(spec) {
    this.fields.clear();
    const plain = [];
    const parts = [];
    for (const [name, about] of Object.entries(this.schema.properties)) {
      if (name === "schema_version") continue;
      const shape = this.shape(about);
      if (isPart(shape)) parts.push(this.part([name], shape, spec[name]));
      else plain.push(this.field([name], shape, spec[name]));
    }
    put(this.element, h("fieldset", { class: "card part" }, h("legend", null, "Run"), h("div", { class: "grid" }, plain)), parts);
  }

  /** What differs from `base`, as an overlay; a part of another kind as a whole. */
  changes(base) {
    const overlay = {};
    if (base === null) return overlay;
    for (const field of this.changed(base)) lay(overlay, field.path, field.read());
    for (const field of this.fields.values()) {
      const top = field.path[0];
      if (overlay[top]?.kind !== undefined && field.path.length > 1) lay(overlay, field.path, field.read());
    }
    return overlay;
  }

  /** The fields that differ from `base`. */
  changed(base) {
    return [...this.fields.values()].filter((field) => JSON.stringify(field.read()) !== JSON.stringify(at(base, field.path)));
  }

  /** Puts each problem beside its field; returns those that have none. */
  showProblems(problems) {
    for (const field of this.fields.values()) field.say("");
    const left = [];
    for (const problem of problems) {
      const field = this.nearest(problem.field);
      if (field) {
        field.say(problem.message);
        field.control.closest("details")?.setAttribute("open", "");
      } else left.push(problem);
    }
    return left;
  }

  focusFirst() {
    this.element.querySelector("[aria-invalid='true']")?.focus();
  }

  nearest(path) {
    const parts = path.split(".");
    for (let length = parts.length; length > 0; length -= 1) {
      const found = this.fields.get(parts.slice(0, length).join("."));
      if (found) return found;
    }
    return null;
  }

  /** A schema without references; `optional` if null is allowed. */
  shape(about) {
    if (about.$ref) return this.shape({ ...this.schema.$defs[about.$ref.split("/").at(-1)], ...without(about, "$ref") });
    if (about.allOf?.length === 1) return this.shape({ ...about.allOf[0], ...without(about, "allOf") });
    if (about.anyOf) {
      const others = about.anyOf.filter((each) => each.type !== "null");
      if (others.length === 1 && others.length < about.anyOf.length) return { ...this.shape({ ...others[0], ...without(about, "anyOf") }), optional: true };
    }
    return about;
  }

  part(path, shape, value) {
    const body = h("div", { class: "grid" });
    const build = (current, values) => {
      for (const key of [...this.fields.keys()]) if (key.startsWith(`${path.join(".")}.`)) this.fields.delete(key);
      put(
        body,
        shape.oneOf && this.kindField(path, shape, values.kind, (kind) => build(this.variant(shape, kind), defaults(this.variant(shape, kind), kind))),
        Object.entries(current.properties ?? {})
          .filter(([name]) => !(shape.oneOf && name === "kind"))
          .map(([name, about]) => {
            const inner = this.shape(about);
            return isPart(inner) && !inner.optional ? this.part([...path, name], inner, values?.[name]) : this.field([...path, name], inner, values?.[name]);
          }),
      );
    };
    build(shape.oneOf ? this.variant(shape, value.kind) : shape, value);
    const summary = h("summary", null, words(path.at(-1)));
    return h("details", { class: "card part" }, summary, about(shape), body);
  }

  variant(shape, kind) {
    return shape.oneOf.map((each) => this.shape(each)).find((each) => each.properties.kind.const === kind || each.properties.kind.default === kind);
  }

  kindField(path, shape, value, changed) {
    const kinds = shape.oneOf.map((each) => this.shape(each).properties.kind.const);
    const select = h("select", { onchange: () => { changed(select.value); this.changedHook(); } }, kinds.map((kind) => h("option", { value: kind, selected: kind === value }, kind)));
    const made = this.framed([...path, "kind"], select, "", () => select.value);
    select.value = value;
    // The list is made anew with its part; whoever chose by keyboard goes on there.
    queueMicrotask(() => document.activeElement === document.body && select.isConnected && select.focus());
    return made;
  }

  field(path, shape, value) {
    const { control, read } = input(shape, value);
    control.addEventListener("input", () => this.changedHook());
    return this.framed(path, control, hint(shape), read);
  }

  framed(path, control, text, read) {
    const id = `field-${path.join("-")}`;
    const problem = h("span", { class: "field-problem", id: `${id}-problem` });
    const note = h("span", { class: "hush field-hint", id: `${id}-hint` }, text);
    control.id = id;
    control.setAttribute("aria-describedby", `${id}-problem ${id}-hint`);
    this.fields.set(path.join("."), {
      path,
      control,
      read,
      say(message) {
        say(problem, message);
        mark(control, "aria-invalid", message ? "true" : null);
      },
    });
    return h("div", { class: "field" }, h("label", { for: id }, words(path.at(-1))), control, problem, note);
  }
}

function input(shape, value) {
  if (shape.enum) {
    const select = h("select", null, shape.optional && h("option", { value: "" }, "none"), shape.enum.map((each) => h("option", { value: each, selected: each === value }, each)));
    return { control: select, read: () => (select.value === "" ? null : select.value) };
  }
  if (shape.type === "boolean") {
    const box = h("input", { type: "checkbox", checked: value === true });
    return { control: box, read: () => box.checked };
  }
  if (shape.type === "integer" || shape.type === "number") {
    const number = h("input", { type: "text", inputmode: "decimal", value: value ?? "", autocomplete: "off" });
    // What is no number goes to the API as it stands, which says so.
    return { control: number, read: () => (number.value.trim() === "" ? null : Number.isNaN(Number(number.value)) ? number.value : Number(number.value)) };
  }
  if (shape.type === "string") {
    const text = h("input", { type: "text", value: value ?? "", autocomplete: "off", spellcheck: "false" });
    return { control: text, read: () => (text.value === "" && shape.optional ? null : text.value) };
  }
  if (shape.type === "array") {
    const list = h("input", { type: "text", value: (value ?? []).join(", "), autocomplete: "off", spellcheck: "false" });
    return { control: list, read: () => (list.value.trim() === "" && shape.optional ? null : list.value.split(",").map((each) => scalar(each.trim())).filter((each) => each !== "")) };
  }
  if (shape.type === "object" && shape.properties === undefined) {
    const pairs = h("input", { type: "text", value: Object.entries(value ?? {}).map(([key, each]) => `${key}=${each}`).join(", "), autocomplete: "off", spellcheck: "false", placeholder: "key=value, …" });
    const text = shape.additionalProperties?.type === "string";
    return { control: pairs, read: () => Object.fromEntries(pairs.value.split(",").map((each) => each.trim()).filter(Boolean).map((each) => pair(each, text))) };
  }
  const free = h("textarea", { rows: 2, class: "mono", spellcheck: "false" }, value === null || value === undefined ? "" : JSON.stringify(value));
  return { control: free, read: () => (free.value.trim() === "" ? null : parsed(free.value)) };
}

function pair(text, plain) {
  const [key, ...rest] = text.split("=");
  const value = rest.join("=").trim();
  return [key.trim(), plain ? value : scalar(value)];
}

function scalar(text) {
  if (text === "true" || text === "false") return text === "true";
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function hint(shape) {
  const item = shape;
  const low = item.minimum ?? (item.exclusiveMinimum !== undefined ? `above ${item.exclusiveMinimum}` : null);
  const high = item.maximum ?? (item.exclusiveMaximum !== undefined ? `below ${item.exclusiveMaximum}` : null);
  const limits = low !== null && high !== null && typeof low === "number" && typeof high === "number" ? `${low} to ${high.toLocaleString()}` : low !== null && high === null ? (typeof low === "number" ? `at least ${low}` : low) : [low, high].filter((each) => each !== null).join(", ");
  const form = shape.type === "array" ? "separated by commas" : isFree(shape) ? `as JSON: ${Object.keys(shape.properties ?? {}).join(", ")}` : "";
  return [shape.description?.split("\n")[0], limits, form, shape.optional ? "may be empty" : ""].filter(Boolean).join("; ");
}

const isFree = (shape) => shape.properties !== undefined && shape.optional;
const isPart = (shape) => (shape.properties !== undefined || shape.oneOf !== undefined) && !shape.optional;
const words = (name) => name.replaceAll("_", " ");
const without = (values, key) => Object.fromEntries(Object.entries(values).filter(([name]) => name !== key));
const about = (shape) => shape.description && h("p", { class: "hush part-about" }, shape.description.split("\n\n")[0].replaceAll("`", ""));
const at = (values, path) => path.reduce((below, name) => below?.[name], values);

function defaults(shape, kind) {
  return { ...Object.fromEntries(Object.entries(shape.properties).map(([name, about]) => [name, about.default])), kind };
}

function lay(values, path, value) {
  path.slice(0, -1).reduce((below, name) => (below[name] ??= {}), values)[path.at(-1)] = value;
}
