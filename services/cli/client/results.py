"""What came of a run, and the models that answer: curves, verdicts, checkpoints, events, log lines, classifications."""

from collections.abc import Sequence
from typing import Any

from services.cli.client.transport import Transport, listed, quoted, view
from services.cli.client.views import Alias, Checkpoint, Classification, Evaluation, Events, Logs, Model, Series
from shared.records import Verdict


class ResultCalls:
    """The calls about what runs made."""

    _transport: Transport

    def series(self, run: str, *, points: int | None = None) -> Series:
        """The curves of a run, of at most about `points` rows; without it as many as the gateway finds sensible."""
        answer = self._transport.send("GET", f"/v1/runs/{quoted(run)}/series", params={"points": points})
        return view(Series, answer)

    def evaluations(self, run: str) -> list[Evaluation]:
        """The figures of every verdict of a run."""
        answer = self._transport.send("GET", f"/v1/runs/{quoted(run)}/evaluations")
        return [view(Evaluation, item) for item in listed(answer, "evaluations")]

    def evaluation(self, run: str, step: int, weights: str) -> Verdict:
        """One whole verdict, with confusion matrix and figures per class.

        Args:
            run: The run's id.
            step: Of the checkpoint.
            weights: `raw`, `ema`, or `ema-<decay>` where the run has several averages.
        """
        return view(
            Verdict, self._transport.send("GET", f"/v1/runs/{quoted(run)}/evaluations/{step}/{quoted(weights)}")
        )

    def checkpoints(self, run: str) -> list[Checkpoint]:
        """The checkpoints of a run that are on the volume."""
        answer = self._transport.send("GET", f"/v1/runs/{quoted(run)}/checkpoints")
        return [view(Checkpoint, item) for item in listed(answer, "checkpoints")]

    def pin(self, run: str, step: int) -> None:
        """Keeps a checkpoint for good, whatever the run's retention says."""
        self._transport.send("POST", f"/v1/runs/{quoted(run)}/checkpoints/{step}:pin")

    def unpin(self, run: str, step: int) -> None:
        """Leaves a checkpoint to the run's retention again."""
        self._transport.send("POST", f"/v1/runs/{quoted(run)}/checkpoints/{step}:unpin")

    def events(self, run: str, *, after: str | None = None, limit: int | None = None) -> Events:
        """What happened to a run, the oldest first.

        Args:
            run: The run's id.
            after: A cursor: only what came after it. Without one the newest.
            limit: At most so many.
        """
        query = {"after": after, "limit": limit}
        return view(Events, self._transport.send("GET", f"/v1/runs/{quoted(run)}/events", params=query))

    def logs(
        self,
        run: str,
        *,
        level: str | None = None,
        services: Sequence[str] = (),
        after: str | None = None,
        tail: int | None = None,
    ) -> Logs:
        """What was printed about a run, the oldest first.

        Args:
            run: The run's id.
            level: Only lines at least as grave: debug, info, warning, error.
            services: Only lines of some of trainer, evaluator, gateway.
            after: A cursor: only what came after it. Without one the newest.
            tail: At most so many.
        """
        query = {"level": level, "service": list(services) or None, "after": after, "tail": tail}
        return view(Logs, self._transport.send("GET", f"/v1/runs/{quoted(run)}/logs", params=query))

    def models(self) -> list[Model]:
        """What can be asked for a classification, the newest run first, before them all `best`."""
        return [view(Model, item) for item in listed(self._transport.send("GET", "/v1/models"), "models")]

    def model(self, model: str = "best") -> Model:
        """What answers now for a run's id, a run's name, or `best`."""
        return view(Model, self._transport.send("GET", f"/v1/models/{quoted(model)}"))

    def aliases(self, model: str) -> list[Alias]:
        """What every alias of a run points at."""
        return [view(Alias, item) for item in listed(self._transport.send("GET", _aliases(model)), "aliases")]

    def promote(
        self,
        model: str,
        step: int | None,
        *,
        alias: str = "stable",
        pinned: bool | None = None,
        reason: str | None = None,
    ) -> Alias:
        """Points an alias at an export, or says whether it stays where it is.

        Args:
            model: A run's id or name.
            step: Of the export; None: where the alias is.
            alias: `best`, `latest`, `stable`, or one of your own.
            pinned: False lets `best` and `latest` move by themselves again.
            reason: For its history.

        Raises:
            UnavailableError: The export does not answer.
        """
        body = {"step": step, "pinned": pinned, "reason": reason}
        return self._alias("PUT", f"{_aliases(model)}/{quoted(alias)}", body)

    def roll_back(self, model: str, *, alias: str = "stable", reason: str | None = None) -> Alias:
        """Points an alias at where it was before."""
        return self._alias("POST", f"{_aliases(model)}/{quoted(alias)}:rollback", {"reason": reason})

    def canary(self, model: str, step: int, *, share: float, alias: str = "stable", reason: str | None = None) -> Alias:
        """Has the export of a step answer a share of an alias' requests, between 0 and 1."""
        body = {"step": step, "share": share, "reason": reason}
        return self._alias("PUT", f"{_aliases(model)}/{quoted(alias)}/canary", body)

    def end_canary(self, model: str, *, alias: str = "stable") -> Alias:
        """Ends that."""
        return self._alias("DELETE", f"{_aliases(model)}/{quoted(alias)}/canary", None)

    def remove_alias(self, model: str, *, alias: str) -> None:
        """Removes an alias; `best` and `latest` begin anew to move by themselves."""
        self._transport.send("DELETE", f"{_aliases(model)}/{quoted(alias)}")

    def _alias(self, method: str, path: str, body: dict[str, Any] | None) -> Alias:
        given = None if body is None else {key: value for key, value in body.items() if value is not None}
        return view(Alias, self._transport.send(method, path, json=given))

    def classify(
        self, image: bytes, *, model: str = "best", media_type: str = "image/png", top: int = 5
    ) -> Classification:
        """Classifies one encoded picture.

        Args:
            image: The bytes of a PNG, JPEG or WebP file.
            model: A run's id, a run's name, or `best`: the best judged weights of the newest run that has any.
            media_type: `image/png`, `image/jpeg` or `image/webp`.
            top: How many classes to name.

        Raises:
            ImageError: The bytes are no such picture.
            UnavailableError: Nothing was judged yet; worth a retry.
        """
        answer = self._transport.send(
            "POST",
            f"/v1/models/{quoted(model)}:classify",
            params={"top": top},
            content=image,
            headers={"content-type": media_type},
        )
        return view(Classification, answer)


def _aliases(model: str) -> str:
    return f"/v1/models/{quoted(model)}/aliases"
