// The page's frame: which page the address asks for, the connection's state, the theme, the key.

import { key, onKeyWanted } from "./api.js";
import { recolour } from "./chart.js";
import { put, say } from "./dom.js";
import { begin, live, reconnect, subscribe } from "./live.js";
import { classifyPage } from "./pages/classify.js";
import { comparePage } from "./pages/compare.js";
import { runPage } from "./pages/run.js";
import { runsPage } from "./pages/runs.js";
import { startPage } from "./pages/start.js";
import { ask, notice } from "./parts.js";

const main = document.getElementById("main");
const PAGES = [
  [/^$/, "Runs", () => runsPage],
  [/^start$/, "Start", () => startPage],
  [/^compare$/, "Compare", () => comparePage],
  [/^classify$/, "Classify", () => classifyPage],
  [/^runs\/([^/]+)$/, "Runs", (found) => (options) => runPage({ ...options, id: decodeURIComponent(found[1]) })],
];

let current = null;
let shownPath = null;

function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const options = new URLSearchParams(query);
  const again = path === shownPath;
  if (again && current?.options) {
    current.options(options);
    return;
  }
  current?.stop?.();
  current = null;
  for (const [pattern, tab, make] of PAGES) {
    const found = pattern.exec(path);
    if (found === null) continue;
    current = make(found)({ options, title });
    put(main, current.element);
    for (const link of document.querySelectorAll(".nav a")) {
      if (link.textContent === tab) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    break;
  }
  if (current === null) put(main, notice("There is no such page", "The address may be mistyped."));
  // After a change of page the keyboard goes on at its content, not where it was on the page before.
  if (shownPath !== null && !again) main.focus({ preventScroll: true });
  if (!again) scrollTo(0, 0);
  shownPath = path;
}

function title(text) {
  document.title = text ? `${text} – tandem` : "tandem";
}

const LINKS = {
  live: "live",
  polling: "live",
  connecting: "connecting",
  offline: "offline",
  locked: "locked",
};

function showLink() {
  const element = document.getElementById("link");
  element.dataset.link = live.link;
  say(document.getElementById("link-text"), LINKS[live.link]);
  element.title = live.link === "polling" ? "asks every 2 seconds" : live.link === "live" ? "hears of changes at once" : "";
  const bar = document.getElementById("offline");
  bar.hidden = live.link !== "offline";
  say(bar, live.link === "offline" ? "The gateway does not answer. What is shown is as it last was; trainings go on without it." : "");
}

let asking = false;
async function askForKey() {
  document.getElementById("key-button").hidden = false;
  if (asking) return;
  asking = true;
  const answer = await ask({
    title: "An access key, please",
    text: "This gateway answers only to who has a key. It stays in this tab and is forgotten with it.",
    action: "Use it",
    fields: [{ name: "key", label: "Key", type: "password", value: "", required: true }],
  });
  asking = false;
  if (answer === null) return;
  key.set(answer.key.trim());
  await reconnect();
  shownPath = null;
  route();
}

const SIGNS = { auto: "◐", light: "☀", dark: "☾" };
const theme = globalThis.tandemTheme;

function showTheme() {
  const button = document.getElementById("theme-button");
  say(button, SIGNS[theme.choice]);
  button.setAttribute("aria-label", `Theme: ${theme.choice}`);
  button.title = `Theme: ${theme.choice}`;
  recolour();
}

onKeyWanted(askForKey);
subscribe(showLink);
addEventListener("hashchange", route);
theme.changed = showTheme;
document.getElementById("theme-button").addEventListener("click", theme.next);
document.getElementById("key-button").addEventListener("click", askForKey);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
showTheme();
begin();
route();
