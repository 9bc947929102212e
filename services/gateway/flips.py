"""Which test examples flipped between two judged checkpoints: right in one and wrong in the other."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from services.gateway.index import Run
from shared.answers import Answers, Indices, read_answers
from shared.errors import ConflictError, InputError, NotFoundError
from shared.layout import STEP_NAME
from shared.records import Verdict, read_record
from shared.significance import mcnemar


class JudgedView(BaseModel):
    """Judged weights of a run."""

    step: int
    weights: str = Field(description="the kind: `raw` or `ema-<decay>`")
    precision_at_1: float | None


class FlipView(BaseModel):
    """One test example: its index, its label, and the most probable classes before and after, as class numbers."""

    index: int
    label: int
    before: int
    after: int


class FlipsView(BaseModel):
    """What changed from the weights `against` to these ones, on the same test examples.

    The lists hold the first `limit` of each kind by index; the counts are of all.
    """

    run: str
    judged: JudgedView = Field(description="these weights")
    against: JudgedView = Field(description="those that they are compared with")
    classes: list[str] = Field(description="names, by class number")
    examples: int
    both_right: int
    both_wrong: int
    right_to_wrong_count: int
    wrong_to_right_count: int
    p_value: float = Field(description="McNemar's test, two-sided")
    method: Literal["exact", "chi-square"]
    right_to_wrong: list[FlipView]
    wrong_to_right: list[FlipView]


def kind_named(run: Run, weights: str) -> str:
    """The kind of weights that `weights` names, where `ema` is the average that is served."""
    return run.spec.primary_ema if weights == "ema" else weights


def find_verdict(run: Run, step: int, kind: str) -> Verdict:
    """One whole verdict.

    Raises:
        InputError: No kind of weights is called that.
        NotFoundError: These weights have not been judged; says which steps have.
    """
    path = run.folder.verdict(step, kind)
    try:
        return read_record(path, Verdict)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            f"the weights {kind} of step {step} have not been judged", where=f"run {run.id}", hint=_judged(run)
        ) from error


def flips(run: Run, *, step: int, kind: str, against: str | None, limit: int) -> FlipsView:
    """What flipped.

    Args:
        run: The run.
        step: Of the weights looked at.
        kind: Their kind.
        against: `<step>` or `<step>/<weights>`; None: the judged step before, of the same kind.
        limit: The most examples listed of each sort.

    Raises:
        InputError: `against` is none of these.
        NotFoundError: Something of this was not judged, or its answers are not kept any more.
        ConflictError: The two were judged on different examples.
        VolumeError: The answers of one are damaged.
    """
    now = find_verdict(run, step, kind)
    other_step, other_kind = _against(run, against, step=step, kind=kind)
    then = find_verdict(run, other_step, other_kind)
    after, before = read_answers(run.folder, kind, now), read_answers(run.folder, other_kind, then)
    if not after.comparable(before):
        raise ConflictError(
            f"step {step} and step {other_step} were judged on different examples", where=f"run {run.id}"
        )
    gained, lost = after.discordant(before)
    test = mcnemar(len(gained), len(lost))
    return FlipsView(
        run=run.id,
        judged=JudgedView(step=step, weights=kind, precision_at_1=now.precision_at_1),
        against=JudgedView(step=other_step, weights=other_kind, precision_at_1=then.precision_at_1),
        classes=[each.name for each in now.classes],
        examples=len(after.correct),
        both_right=int(np.count_nonzero(after.correct & before.correct)),
        both_wrong=int(np.count_nonzero(~(after.correct | before.correct))),
        right_to_wrong_count=len(lost),
        wrong_to_right_count=len(gained),
        p_value=test.p_value,
        method=test.method,
        # Who is right names the label, so the data set need not be at hand.
        right_to_wrong=_listed(lost[:limit], before=before, after=after, right=before),
        wrong_to_right=_listed(gained[:limit], before=before, after=after, right=after),
    )


def _listed(indices: Indices, *, before: Answers, after: Answers, right: Answers) -> list[FlipView]:
    columns: Sequence[list[int]] = [
        indices.tolist(),
        *(answers.predicted[indices].tolist() for answers in (right, before, after)),
    ]
    return [
        FlipView(index=index, label=label, before=then, after=now)
        for index, label, then, now in zip(*columns, strict=True)
    ]


def _against(run: Run, text: str | None, *, step: int, kind: str) -> tuple[int, str]:
    if text is None:
        before = {each.step for each in run.verdicts if each.step < step and each.status == "judged"}
        if not before:
            raise NotFoundError(
                f"nothing before step {step} was judged", where="against", hint="Name a step to compare with"
            )
        return max(before), kind
    number, _, weights = text.partition("/")
    if not STEP_NAME.fullmatch(number):
        raise InputError(f"{text[:60]!r} is not <step> or <step>/<weights>", where="against")
    return int(number), kind_named(run, weights) if weights else kind


def _judged(run: Run) -> str:
    steps = sorted({each.step for each in run.verdicts})
    return f"Judged steps: {', '.join(map(str, steps[-10:]))}" if steps else "Nothing of this run has been judged yet"
