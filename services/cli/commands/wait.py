"""`tandem wait`: a training as a test, whose exit code says how it went."""

import re
import time
from typing import Annotated

import typer

from services.cli.client.views import Run
from services.cli.commands.options import Json, RunName
from services.cli.condition import METRICS, Outcome, parse_condition
from services.cli.exits import NOT_SO, TOO_LATE
from services.cli.output import progress_text
from services.cli.screen import Screen
from services.cli.session import Session, find_run
from services.cli.waiting import End, Waiter
from shared.errors import InputError

EXITS = {End.TRUE: 0, End.FAILED: 1, End.NEVER: NOT_SO, End.TOO_LATE: TOO_LATE}

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", re.ASCII)
_UNITS = (86_400, 3_600, 60, 1)


def wait(
    context: typer.Context,
    run: RunName,
    *,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="CONDITION",
            help=f"Such as 'ema_precision>=0.86 and step>=1000'; of {', '.join(METRICS)}. Without it: completed.",
        ),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 90s, 30m or 1h30m; without it as long as it takes.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Wait until a condition holds for a run; exit code 6: it cannot hold any more, 7: timeout."""
    session: Session = context.obj
    condition = None if until is None else parse_condition(until)
    seconds = None if timeout is None else seconds_of(timeout)
    screen = Screen(console=session.errors, clock=time.monotonic, interval=10.0)

    def tell(now: Run, outcome: Outcome | None) -> None:
        values = "" if outcome is None else f"  {outcome}"
        screen.progress(progress_text(now) + values, now.progress)

    with session.client() as client, screen.live():
        found = find_run(client, run)
        waiter = Waiter(client=client, condition=condition, clock=time.monotonic, sleep=time.sleep, tell=tell)
        waited = waiter.wait(found.id, timeout=seconds)
    values = {} if waited.outcome is None else dict(waited.outcome.values)
    if as_json:
        session.show_json(
            {
                "run": waited.run.id,
                "until": None if condition is None else str(condition),
                "holds": waited.end is End.TRUE,
                "end": waited.end.name.lower(),
                "state": waited.run.state,
                "values": values,
            }
        )
    elif condition is None:
        session.show(f"{waited.run.id} {waited.run.state} at step {waited.run.step:,} of {waited.run.steps:,}")
    else:
        session.show(f"{condition} {_said(waited.end)}: {waited.outcome} ({waited.run.id} {waited.run.state})")
    return EXITS[waited.end]


def seconds_of(text: str) -> float:
    """The seconds that `90s`, `30m`, `1h30m`, `1d` or a plain number spell.

    Raises:
        InputError: It spells none.
    """
    found = _DURATION.fullmatch(text.strip())
    if not text.strip() or found is None:
        raise InputError(f"{text!r} is no time", where="--timeout", hint="Such as 90s, 30m or 1h30m")
    return sum(float(number) * unit for number, unit in zip(found.groups(), _UNITS, strict=True) if number)


def _said(end: End) -> str:
    return "does not hold, and the run failed" if end is End.FAILED else end.value
