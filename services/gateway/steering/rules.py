"""What ends a run before its last step, by its specification's `until`. Pure: no I/O, no clock."""

from services.gateway.index import Run
from shared.spec import PlateauSpec


def reason_to_end(run: Run, *, seconds: float, cost: float | None) -> str | None:
    """Why a run is to be stopped now, or None.

    Args:
        run: The run. Verdicts at steps up to `desired.rules_from` are passed over: a run that one of its rules has
            stopped was restarted there.
        seconds: For how long trainers have worked on it, since it was last restarted.
        cost: Of that time; None if there is no price.
    """
    until = run.spec.until
    averaged, raw = _judged(run, run.spec.primary_ema), _judged(run, "raw")
    reasons = (
        _reached("ema_precision", until.ema_precision, averaged),
        _reached("raw_precision", until.raw_precision, raw),
        None if until.plateau is None else _plateau(until.plateau, averaged),
        _over("wall_seconds", until.wall_seconds, seconds),
        _over("cost", until.cost, cost),
    )
    return next((reason for reason in reasons if reason is not None), None)


def _judged(run: Run, kind: str) -> list[tuple[int, float]]:
    """Step and precision at 1 of each verdict that counts, by step."""
    begin = 0 if run.desired is None else run.desired.rules_from
    return [
        (each.step, each.precision_at_1)
        for each in run.verdicts
        if each.precision_at_1 is not None and each.step > begin and each.status == "judged" and each.kind == kind
    ]


def _reached(name: str, wanted: float | None, judged: list[tuple[int, float]]) -> str | None:
    if wanted is None:
        return None
    found = next(((step, value) for step, value in judged if value >= wanted), None)
    return None if found is None else f"until.{name} {wanted:g} is reached: {found[1]:.4f} at step {found[0]}"


def _plateau(rule: PlateauSpec, judged: list[tuple[int, float]]) -> str | None:
    before, last = judged[: -rule.evaluations], judged[-rule.evaluations :]
    if not before:
        return None
    best, newest = max(value for _, value in before), max(value for _, value in last)
    if newest - best > rule.gain:
        return None
    return (
        f"until.plateau: {best:.4f} was the best EMA precision, and the {rule.evaluations} verdicts since, up to step"
        f" {last[-1][0]}, came to {newest:.4f}"
    )


def _over(name: str, limit: float | None, used: float | None) -> str | None:
    if limit is None or used is None or used < limit:
        return None
    return f"until.{name} {limit:g} is used up"
