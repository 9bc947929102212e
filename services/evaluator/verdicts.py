"""Verdicts: what is written about one kind of weights of one checkpoint, exactly once."""

from collections.abc import Callable
from typing import Literal

from services.evaluator.judging import Judged
from shared import atomic
from shared.answers import encode_answers, file_record
from shared.errors import TandemError
from shared.layout import RunFolder
from shared.records import Comparison, Drift, Verdict, encode_record


def weights_and_decay(kind: str) -> tuple[Literal["raw", "ema"], float | None]:
    """A kind of weights as records name it: `ema-0.9999` is ("ema", 0.9999)."""
    return ("raw", None) if kind == "raw" else ("ema", float(kind.removeprefix("ema-")))


class VerdictWriter:
    """Writes verdicts for one evaluator. Of several on the same weights the first stands; none is ever altered.

    One that says `corrupt` is withdrawn when the checkpoint's files have changed since.

    Args:
        evaluator: The evaluator's name.
        wall: Seconds since the epoch.
    """

    def __init__(self, *, evaluator: str, wall: Callable[[], float]) -> None:
        self._evaluator = evaluator
        self._wall = wall

    def judged(
        self,
        folder: RunFolder,
        step: int,
        kind: str,
        judged: Judged,
        *,
        manifest_sha256: str,
        comparison: Comparison | None = None,
        drift: Drift | None = None,
    ) -> bool:
        """Writes the answers to each example, then the figures. Returns whether this verdict stands.

        Raises:
            FileNotFoundError: The run is gone; nothing of it is made anew.
            OSError: It could not be written.
        """
        path = folder.verdict(step, kind)
        if path.exists():
            return False  # whose answers must stay as they are
        answers = encode_answers(judged.answers, run=folder.id, step=step, kind=kind)
        atomic.replace_file(folder.answers(step, kind), answers, within=folder.root)
        weights, decay = weights_and_decay(kind)
        figures = judged.figures
        verdict = Verdict(
            run=folder.id,
            step=step,
            weights=weights,
            decay=decay,
            examples=figures.examples,
            precision_at_1=figures.precision_at_1,
            interval=figures.interval,
            top_k=figures.top_k,
            precision_at_k=figures.precision_at_k,
            loss=figures.loss,
            confusion=figures.confusion,
            classes=figures.classes,
            calibration=figures.calibration,
            comparison=comparison,
            drift=drift,
            recalibrated=judged.recalibrated,
            answers=file_record(answers),
            seconds=judged.seconds,
            evaluator=self._evaluator,
            manifest_sha256=manifest_sha256,
            time=self._wall(),
        )
        return atomic.create_file(path, encode_record(verdict), within=folder.root)

    def condemned(
        self,
        folder: RunFolder,
        step: int,
        kind: str,
        status: Literal["corrupt", "failed"],
        error: TandemError,
        *,
        appearance: str = "",
    ) -> bool:
        """Writes that these weights could not be judged. Returns whether this verdict stands.

        Args:
            folder: The run.
            step: Of the checkpoint.
            kind: Of the weights.
            status: `corrupt` if their files are damaged, `failed` if judging them again would not help.
            error: Why.
            appearance: How the files lay there; the verdict holds for as long as they do.

        Raises:
            FileNotFoundError: The run is gone; nothing of it is made anew.
            OSError: It could not be written.
        """
        weights, decay = weights_and_decay(kind)
        verdict = Verdict(
            run=folder.id,
            step=step,
            weights=weights,
            decay=decay,
            status=status,
            problem=str(error),
            appearance=appearance,
            evaluator=self._evaluator,
            time=self._wall(),
        )
        return atomic.create_file(folder.verdict(step, kind), encode_record(verdict), within=folder.root)

    def withdraw(self, folder: RunFolder, step: int, kind: str) -> None:
        """Takes back a verdict that holds no longer, if there is one. Only who holds the claim may.

        Raises:
            OSError: It could not be removed.
        """
        atomic.remove_file(folder.verdict(step, kind))
