// What may be asked of runs: the buttons, what each of them asks before, and how it is asked.

import { ApiError, patch, post, remove, runPath } from "./api.js";
import { announce, h, put, toast } from "./dom.js";
import * as format from "./format.js";
import { forget, learn } from "./live.js";
import { ask, SETTLED } from "./parts.js";

const KINDS = {
  pause: {
    label: "Pause",
    confirm: () => ({
      title: "Pause this run?",
      text: "It comes to a halt at the end of a step, and nothing is lost.",
      action: "Pause",
      fields: [
        {
          name: "kind",
          label: "How",
          options: [
            ["release", "release: write a checkpoint, free the slot"],
            ["hold", "hold: stay in memory, resume at once"],
          ],
        },
      ],
    }),
    body: (answer) => ({ kind: answer.kind }),
  },
  resume: { label: "Resume", class: "primary" },
  extend: {
    label: "Extend …",
    verb: "resume",
    confirm: (run) => ({
      title: "Let it make more steps?",
      action: "Extend",
      fields: [{ name: "steps", label: "Steps in all", type: "number", min: run.steps + 1, value: 2 * run.steps, required: true }],
    }),
    body: (answer) => ({ steps: Number(answer.steps) }),
  },
  restart: { label: "Restart", class: "primary" },
  fork: { label: "Fork …" },
  stop: {
    label: "Stop",
    confirm: (run) => ({
      title: `Stop ${run.name} for good?`,
      text: "It commits a last checkpoint and ends. It can be restarted from there.",
      action: "Stop",
    }),
  },
  kill: {
    label: "Kill",
    class: "danger",
    confirm: (run) => ({
      title: `Kill ${run.name} at once?`,
      text: `No checkpoint is written: ${lost(run)}`,
      action: "Kill",
      danger: true,
    }),
  },
  delete: {
    label: "Delete",
    class: "danger",
    confirm: (run) => ({
      title: `Delete ${run.name}?`,
      text: `Everything of ${run.id} goes: curves, checkpoints, evaluations and exports. This cannot be undone.`,
      action: "Delete",
      danger: true,
    }),
  },
};

function lost(run) {
  const steps = run.step - (run.checkpoint_step ?? 0);
  return steps > 0 ? `about ${format.count(steps)} steps since the last one are lost.` : "what was done since the last one is lost.";
}

/** What may be asked of a run now. */
export function allowed(run) {
  return run.allowed ?? (SETTLED.has(run.state) || run.state === "stopping" ? [] : ["stop"]);
}

/** Asks a run to do something, after asking whoever pressed the button if something is at stake. */
export async function carryOut(name, run) {
  if (name === "fork") {
    location.hash = `#/start?fork=${encodeURIComponent(run.id)}`;
    return;
  }
  const kind = KINDS[name];
  const answer = kind.confirm ? await ask(kind.confirm(run)) : {};
  if (answer === null) return;
  try {
    if (name === "delete") {
      await remove(runPath(run.id));
      forget(run.id);
      toast(`${run.name} was deleted`);
      if (location.hash.startsWith(`#/runs/${encodeURIComponent(run.id)}`)) location.hash = "#/";
      return;
    }
    learn(await post(`${runPath(run.id)}:${kind.verb ?? name}`, kind.body ? kind.body(answer) : {}));
    announce(`${run.name}: ${kind.label} was asked for`);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.text, { trouble: true });
  }
}

/** The buttons of a run, as many as are allowed; one that stays keeps the focus. */
export function buttons() {
  const element = h("div", { class: "buttons", role: "group", "aria-label": "What may be asked of this run" });
  let shown = "";
  let current = null;
  return {
    element,
    update(run) {
      current = run;
      const now = allowed(run);
      if (now.join() === shown) return;
      shown = now.join();
      const focused = document.activeElement?.dataset?.ask;
      put(
        element,
        Object.keys(KINDS)
          .filter((name) => now.includes(name))
          .map((name) =>
            h("button", { type: "button", class: KINDS[name].class ?? "plain", "data-ask": name, onclick: () => carryOut(name, current) }, KINDS[name].label),
          ),
      );
      if (focused) (element.querySelector(`[data-ask="${focused}"]`) ?? element.querySelector("button"))?.focus();
    },
  };
}

/** Changes labels or priority. */
export async function tag(run, changes) {
  try {
    learn(await patch(runPath(run.id), changes));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.text, { trouble: true });
  }
}

/** Asks the same of many runs. */
export async function carryOutMany(name, runs) {
  const kind = KINDS[name];
  const losing = name === "kill" || name === "delete" || name === "stop";
  if (losing) {
    const names = runs.length <= 5 ? runs.map((run) => run.name).join(", ") : `${runs.length} runs`;
    const text = name === "delete" ? "Everything of them goes. This cannot be undone." : name === "kill" ? "No checkpoint is written." : "Each commits a last checkpoint and ends.";
    if ((await ask({ title: `${kind.label} ${names}?`, text, action: kind.label, danger: name !== "stop" })) === null) return;
  }
  try {
    const answer = await post(`/v1/runs:${name}`, { runs: runs.map((run) => run.id) });
    const refused = answer.results.filter((each) => each.error);
    toast(`${kind.label}: ${answer.results.length - refused.length} of ${answer.results.length} runs`);
    for (const each of refused) toast(`${each.run}: ${each.error.message}`, { trouble: true });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    toast(error.text, { trouble: true });
  }
}
