// What happened to a run, and what its services print, as it comes.

import { ApiError, get } from "../api.js";
import { h, Keyed, put, say } from "../dom.js";
import * as format from "../format.js";
import { notice } from "../parts.js";
import { follow, pause } from "../stream.js";

const MOST_LINES = 500;
const LEVELS = ["debug", "info", "warning", "error"];
const SERVICES = ["", "trainer", "evaluator", "gateway"];

export function journal(watch, run) {
  const events = eventList(watch);
  const log = logView(watch, run);
  return { element: h("div", { class: "columns" }, events, log.element), stop: log.stop };
}

function eventList(watch) {
  const list = h("ol", { class: "events" });
  const body = h("div", { class: "scroll tall", tabindex: 0, "aria-label": "Events, newest first" }, notice("No events yet"));
  const keyed = new Keyed(list, { key: (each) => each.key, make: (each) => ({ element: eventLine(each) }) });
  watch.on("events", (events) => {
    if (!events?.length) {
      put(body, notice(events === null ? "This gateway does not tell events" : "No events yet"));
      return;
    }
    keyed.show(events.map((each, index) => ({ ...each, key: `${index} ${each.time} ${each.kind}` })).reverse());
    if (list.parentElement !== body) put(body, list);
  });
  return h("section", { class: "card" }, h("header", { class: "card-head" }, h("h3", null, "Events")), body);
}

function eventLine(event) {
  return h(
    "li",
    { "data-kind": event.kind, "data-to": event.details?.to },
    h("time", { class: "number hush", title: format.time(event.time) }, format.shortTime(event.time)),
    h("span", { class: "event-kind" }, event.details?.to ?? event.kind.replaceAll("_", " ")),
    h("span", { class: "event-text" }, event.message, event.step !== null && event.step !== undefined && h("span", { class: "hush number" }, ` · step ${format.count(event.step)}`)),
  );
}

function logView(watch) {
  const level = h("select", { "aria-label": "Least level", onchange: () => begin() }, LEVELS.map((each) => h("option", { value: each, selected: each === "info" }, each)));
  const service = h("select", { "aria-label": "Service", onchange: () => begin() }, SERVICES.map((each) => h("option", { value: each }, each || "all services")));
  const lines = h("div", { class: "log", role: "log", "aria-live": "off", "aria-label": "Log", tabindex: 0 });
  const state = h("span", { class: "hush" });
  const element = h("section", { class: "card" }, h("header", { class: "card-head" }, h("h3", null, "Log"), state, level, service), lines);
  let stopper = new AbortController();

  function add(entries) {
    // It follows the end, unless somebody scrolled up to read.
    const atEnd = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 24;
    lines.append(...entries.map(logLine));
    while (lines.childElementCount > MOST_LINES) lines.firstElementChild.remove();
    if (atEnd) lines.scrollTop = lines.scrollHeight;
  }

  async function begin() {
    stopper.abort();
    stopper = new AbortController();
    const { signal } = stopper;
    const query = new URLSearchParams({ level: level.value });
    if (service.value) query.set("service", service.value);
    put(lines);
    const load = async () => {
      const answer = await get(`${watch.path}/logs?${query}&tail=200`, { signal });
      put(lines);
      add(answer.logs ?? answer.lines ?? []);
      say(state, lines.childElementCount ? "" : "no lines at this level yet");
      lines.scrollTop = lines.scrollHeight;
    };
    try {
      await load();
      const served = await follow(`${watch.path}/stream?kinds=log&${query}`, { signal, onEvent: (kind, value) => kind === "log" && add([value]) });
      while (!served && !signal.aborted) {
        await pause(3000, signal);
        if (!signal.aborted) await load();
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof ApiError)) throw error;
      say(state, error.status === 404 ? "this gateway does not tell log lines" : error.text);
    }
  }
  begin();
  return { element, stop: () => stopper.abort() };
}

function logLine(entry) {
  const name = String(entry.level ?? "info").toLowerCase();
  return h(
    "div",
    { class: "log-line", "data-level": name },
    h("time", { title: format.time(entry.time) }, format.shortTime(entry.time)),
    h("span", { class: "log-level" }, name),
    h("span", { class: "log-service" }, entry.service ?? ""),
    h("span", { class: "log-text" }, entry.message ?? ""),
  );
}
