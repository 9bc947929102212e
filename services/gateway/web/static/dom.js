// Elements from data. Text is only ever set as text: nothing that comes from a run can become markup.

/** An element. `properties`: `class`, `on<event>`, `dataset`, `style` (custom properties), attributes; false and null
 * are left out. Children: elements, text, numbers, arrays of them; null and false are left out. */
export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Puts `children` in place of what is in `element`. */
export function put(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Sets text only when it differs, so that a selection and a screen reader are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets or takes away an attribute, only when it differs. */
export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/** Keeps the children of `parent` in step with `items`: one element per key, made once, updated, moved, removed. */
export class Keyed {
  /** @param make (item) => {element, update(item)} */
  constructor(parent, { key, make }) {
    this.parent = parent;
    this.key = key;
    this.make = make;
    this.known = new Map();
  }

  show(items) {
    const wanted = new Set(items.map(this.key));
    for (const [key, part] of this.known) {
      if (!wanted.has(key)) {
        part.element.remove();
        this.known.delete(key);
      }
    }
    let place = this.parent.firstElementChild;
    for (const item of items) {
      const key = this.key(item);
      let part = this.known.get(key);
      if (part === undefined) {
        part = this.make(item);
        this.known.set(key, part);
      }
      part.update?.(item);
      if (part.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(part.element, place);
    }
  }
}

/** Says something to screen readers. */
export function announce(text) {
  say(document.getElementById("announcer"), text);
}

/** A short message at the edge of the page that goes by itself; a trouble stays until it is closed. */
export function toast(text, { trouble = false } = {}) {
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => element.remove() }, "×");
  const element = h("div", { class: trouble ? "toast trouble" : "toast" }, h("span", null, text), close);
  document.getElementById("toasts").append(element);
  if (!trouble) setTimeout(() => element.remove(), 5000);
}
