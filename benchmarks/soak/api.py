"""Runs are asked for and waited for over the gateway's API, whether or not the gateway is there just now."""

import time
from collections.abc import Callable
from typing import Any

import httpx

PATIENCE_SECONDS = 300.0


class Api:
    """The gateway's API, asked again when the gateway is not there. Remembers the runs that it asked for.

    Args:
        address: The gateway's.
        spec: Of each run that is asked for.
    """

    def __init__(self, *, address: str, spec: dict[str, Any]) -> None:
        self._address = address
        self._spec = spec
        self._wanted = False
        self._runs: list[str] = []
        self._over: set[str] = set()

    def get(self, path: str) -> Any:
        """An answer, or None if there is none now."""
        try:
            answer = httpx.get(self._address + path, timeout=10)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def keep_busy(self, slots: int) -> None:
        """Asks for another run where fewer are under way than there are slots."""
        self._all_over()
        self._wanted = self._wanted or len(self._runs) - len(self._over) < slots
        self._ask()

    def wait_for_all(self) -> list[str]:
        """Waits until every run that was asked for is over. Returns all of them."""
        self.until(self._ask, "answer to a run that was asked for")
        self.until(self._all_over, "end of every run")
        self.until(self._listed, "list of runs")
        listed = self._listed()
        if sorted(listed) != sorted(self._runs):
            raise SystemExit(f"BROKEN: asked for {self._runs}; there are {listed}")
        return self._runs

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Polls until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                states = [(run, (self.get(f"/v1/runs/{run}") or {}).get("state")) for run in self._runs]
                raise SystemExit(f"BROKEN: there was no {what} within {PATIENCE_SECONDS:.0f} s: {states}")
            time.sleep(0.2)

    def _ask(self) -> bool:
        """Asks for the run that is wanted, if one is; returns whether it is there."""
        if self._wanted:
            # The same key until it is answered, so that a gateway killed in the middle makes one run, not two.
            headers = {"Idempotency-Key": f"soak-{len(self._runs)}"}
            try:
                answer = httpx.post(f"{self._address}/v1/runs", json={"spec": self._spec}, headers=headers, timeout=10)
            except httpx.HTTPError:
                return False
            if answer.status_code == 201:
                self._runs.append(str(answer.json()["id"]))
                self._wanted = False
        return not self._wanted

    def _listed(self) -> list[str]:
        return [run["id"] for run in (self.get("/v1/runs?limit=500") or {"runs": []})["runs"]]

    def _all_over(self) -> bool:
        for run in self._runs:
            view = None if run in self._over else self.get(f"/v1/runs/{run}")
            if view is not None and view["state"] in ("completed", "failed", "stopped"):
                self._over.add(run)
        return len(self._over) == len(self._runs)
