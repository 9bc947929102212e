"""`tandem fsck`: checks a volume on this machine, without a gateway."""

import time
from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import Json
from services.cli.exits import NOT_SO
from services.cli.fsck.check import Checker
from services.cli.fsck.quarantine import quarantine
from services.cli.screen import Screen
from services.cli.session import Session
from shared.errors import InputError
from shared.layout import Volume


def fsck(
    context: typer.Context,
    *,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN…", help="Ids of runs; without any, everything.")
    ] = None,
    volume: Annotated[Path | None, typer.Option(help="The folder that everything is kept in.")] = None,
    move: Annotated[
        bool, typer.Option("--quarantine", help="Move damaged checkpoints, exports and verdicts out of the way.")
    ] = False,
    patience: Annotated[
        float, typer.Option(min=0.0, help="Seconds without a heartbeat until a lease counts as abandoned.")
    ] = 15.0,
    as_json: Json = False,
) -> int:
    """Check a volume for damage: digests, records, log lines, leftovers of crashes. Only --quarantine writes."""
    session: Session = context.obj
    place = Volume((volume or session.settings.volume).expanduser().resolve())
    if not place.root.is_dir():
        raise InputError("is no folder", where=str(place.root), hint="Name the volume with --volume or TANDEM_VOLUME")
    screen = Screen(console=session.errors, clock=time.monotonic)
    checker = Checker(
        volume=place,
        progress=lambda what: screen.progress(f"checking {what}", None),
        clock=time.monotonic,
        sleep=time.sleep,
        patience=patience,
    )
    for run in runs or []:
        if not place.run(run).root.is_dir():
            raise InputError(f"there is no run {run!r}", where=str(place.runs))
    with screen.live():
        report = checker.check(runs or [])
    kept = quarantine(report, place) if move else []
    if as_json:
        session.show_json(report.as_json())
    else:
        for finding in report.findings:
            session.show(str(finding))
        session.show(report.summary())
    for line in kept:
        session.tell(f"tandem: {line}")
    return NOT_SO if report.damaged else 0
