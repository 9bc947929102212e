"""Runs: start, list, show, and everything that may be asked of one or of many."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from services.cli.client.transport import Transport, listed, new_key, quoted, view
from services.cli.client.views import BulkResult, Run, Slot

PAGE = 1_000  # as many as the gateway gives at once

Transition = Literal["pause", "resume", "stop", "kill", "restart", "delete"]


class RunCalls:
    """The calls about runs."""

    _transport: Transport

    def recipes(self) -> list[str]:
        """The names of the recipes that the gateway knows."""
        return [
            item if isinstance(item, str) else str(item.get("name"))
            for item in listed(self._transport.send("GET", "/v1/recipes"), "recipes")
        ]

    def slots(self) -> list[Slot]:
        """The places where a trainer can run."""
        return [view(Slot, item) for item in listed(self._transport.send("GET", "/v1/slots"), "slots")]

    def start_run(
        self, *, recipe: str | None = None, spec: Mapping[str, Any] | None = None, key: str | None = None
    ) -> Run:
        """Starts a run.

        Args:
            recipe: The recipe's name; without one the spec's defaults are the base.
            spec: Keys of a `RunSpec`, laid over the recipe.
            key: Of this request: sent again with the same key, it starts nothing twice.

        Raises:
            SpecError: A key or value is wrong; `where` is its path.
            NotFoundError: There is no such recipe.
        """
        return self._run("POST", "/v1/runs", {"recipe": recipe, "spec": dict(spec or {})}, key=key or new_key())

    def fork_run(
        self,
        run: str,
        *,
        step: int | None = None,
        recipe: str | None = None,
        spec: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Run:
        """Starts a run that begins with a checkpoint of another.

        Args:
            run: The other one.
            step: Of its checkpoint; the newest without it.
            recipe: Laid over the other run's spec.
            spec: Laid over both.
            key: As of `start_run`.
        """
        body = {"step": step, "recipe": recipe, "spec": dict(spec or {})}
        said = {name: value for name, value in body.items() if value is not None}
        return self._run("POST", f"/v1/runs/{quoted(run)}:fork", said, key=key or new_key())

    def runs(
        self,
        *,
        states: Sequence[str] = (),
        label: str | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, the oldest first; without arguments all of them, however many pages that takes.

        Args:
            states: Only those in one of these.
            label: Only those with this label, `key=value`.
            name: Only those of this name.
            limit: At most so many, the newest.
        """
        query: dict[str, Any] = {"state": ",".join(states) or None, "label": label, "name": name}
        query["limit"] = PAGE if limit is None else min(limit, PAGE)
        found: list[Run] = []
        cursor: str | None = None
        while True:
            answer = self._transport.send("GET", "/v1/runs", params={**query, "cursor": cursor})
            found = [view(Run, item) for item in listed(answer, "runs")] + found  # each page holds older ones
            cursor = answer.get("next")
            if cursor is None or (limit is not None and len(found) >= limit):
                return found if limit is None else found[-limit:]

    def run(self, run: str) -> Run:
        """One run by its id. Raises NotFoundError where there is none."""
        return self._run("GET", f"/v1/runs/{quoted(run)}")

    def pause_run(self, run: str, *, kind: Literal["hold", "release"] = "release") -> Run:
        """Asks a run to stand still after its step.

        Args:
            run: Which.
            kind: `release` commits a checkpoint and frees the slot; `hold` stays in memory.
        """
        return self._ask(run, "pause", {"kind": kind})

    def resume_run(self, run: str, *, steps: int | None = None) -> Run:
        """Asks a paused run to train on; with `steps` to make so many in all, more than before."""
        return self._ask(run, "resume", {} if steps is None else {"steps": steps})

    def stop_run(self, run: str) -> Run:
        """Asks a run to commit a last checkpoint and stop for good. Raises ConflictError where it is over already."""
        return self._ask(run, "stop")

    def kill_run(self, run: str) -> Run:
        """Ends a run at once, without a last checkpoint."""
        return self._ask(run, "kill")

    def restart_run(self, run: str) -> Run:
        """Has a run that failed or was stopped go on from its newest checkpoint."""
        return self._ask(run, "restart")

    def delete_run(self, run: str) -> None:
        """Removes a run that is over, with everything it made."""
        self._transport.send("DELETE", f"/v1/runs/{quoted(run)}")

    def tag_run(self, run: str, *, priority: int | None = None, labels: Mapping[str, str | None] | None = None) -> Run:
        """Changes a run's priority in the queue, or its labels; a label that is None is taken away."""
        body: dict[str, Any] = {} if priority is None else {"priority": priority}
        return self._run(
            "PATCH", f"/v1/runs/{quoted(run)}", body if labels is None else {**body, "labels": dict(labels)}
        )

    def ask_many(
        self,
        asked: Transition,
        *,
        runs: Sequence[str] = (),
        states: Sequence[str] = (),
        label: str | None = None,
        name: str | None = None,
    ) -> list[BulkResult]:
        """Asks the same of many runs: of those named, or of all that fit the filter. What one refuses stops no other.

        Args:
            asked: What.
            runs: Their ids; without any the filter decides, of which at least one part must be given.
            states: Only those in one of these.
            label: Only those with this label, `key=value`.
            name: Only those of this name.
        """
        chosen = {"state": list(states), "label": label, "name": name}
        body: dict[str, Any] = {"runs": list(runs)} if runs else {"filter": {k: v for k, v in chosen.items() if v}}
        answer = self._transport.send("POST", f"/v1/runs:{asked}", json=body)
        return [view(BulkResult, item) for item in listed(answer, "results")]

    def _ask(self, run: str, asked: str, body: dict[str, Any] | None = None) -> Run:
        return self._run("POST", f"/v1/runs/{quoted(run)}:{asked}", body)

    def _run(self, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None) -> Run:
        headers = {} if key is None else {"idempotency-key": key}
        return view(Run, self._transport.send(method, path, json=body, headers=headers))
