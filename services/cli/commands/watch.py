"""`tandem watch`: runs while they train, with bars and curves that move."""

import json
import time
from typing import Annotated

import typer
from rich.live import Live

from services.cli.client import Client
from services.cli.commands.options import Json, RunNames
from services.cli.output import progress_text
from services.cli.session import Session, find_run
from services.cli.watching import Watched, picture, verdict_line
from shared.errors import InputError, UnavailableError


def watch(
    context: typer.Context,
    runs: RunNames,
    *,
    interval: Annotated[float, typer.Option(min=0.2, help="Seconds between looks.")] = 1.0,
    as_json: Json = False,
) -> int:
    """Follow runs live until they are over: progress, loss, precision of EMA and raw weights."""
    session: Session = context.obj
    with session.client() as client:
        watched = [Watched(run=find_run(client, name)) for name in runs or []]
        if not watched:
            raise InputError("which run?", where="RUN")
        for each in watched:
            each.refresh(client)
        if as_json:
            _json(session, client, watched, interval)
        elif session.console.is_terminal:
            _live(session, client, watched, interval)
        else:
            _plain(session, client, watched, interval)
    return 1 if any(each.run.state == "failed" for each in watched) else 0


def _live(session: Session, client: Client, watched: list[Watched], interval: float) -> None:
    with Live(picture(watched, width=session.console.width), console=session.console, auto_refresh=False) as live:
        while not all(each.over for each in watched):
            time.sleep(interval)
            note = _refresh(client, watched)
            live.update(picture(watched, width=session.console.width, note=note), refresh=True)


def _plain(session: Session, client: Client, watched: list[Watched], interval: float) -> None:
    said: dict[str, str] = {}
    while True:
        for each in watched:
            for line in [*map(verdict_line, each.new_verdicts()), progress_text(each.run)]:
                if said.get(each.run.id) != line:
                    session.show(f"{each.run.id}  {line}")
                said[each.run.id] = line
        if all(each.over for each in watched):
            return
        time.sleep(max(interval, 5.0) if not any(each.run.finished for each in watched) else interval)
        _refresh(client, watched)


def _json(session: Session, client: Client, watched: list[Watched], interval: float) -> None:
    """A line for each verdict, and for each run as often as it is another one than before."""
    said: dict[str, str] = {}
    while True:
        for each in watched:
            for verdict in each.new_verdicts():
                session.show(json.dumps({"kind": "evaluation", "run": each.run.id, **verdict.model_dump(mode="json")}))
            line = json.dumps({"kind": "state", **each.run.model_dump(mode="json")})
            if said.get(each.run.id) != line:
                session.show(line)
            said[each.run.id] = line
        if all(each.over for each in watched):
            return
        time.sleep(interval)
        _refresh(client, watched)


def _refresh(client: Client, watched: list[Watched]) -> str:
    try:
        for each in watched:
            each.refresh(client)
    except UnavailableError as error:  # a gateway that is restarted comes back; Ctrl-C ends the watching
        return str(error)
    return ""
