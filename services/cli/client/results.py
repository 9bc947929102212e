"""What came of a run, and the models that answer: curves, verdicts, checkpoints, events, log lines, classifications."""

from collections.abc import Sequence

from services.cli.client.transport import Transport, listed, quoted, view
from services.cli.client.views import Checkpoint, Classification, Evaluation, Events, Logs, Model, Series
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
