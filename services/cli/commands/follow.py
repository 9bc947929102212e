"""`tandem logs` and `tandem events`: what was printed and what happened, up to now or as it goes on."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import typer

from services.cli.client import Client
from services.cli.client.transport import view
from services.cli.client.views import Evaluation, LogLine, Run, RunEvent, View
from services.cli.commands.options import Json, RunName
from services.cli.completion import complete_run
from services.cli.output import event_line, figures_of, log_line, progress_text
from services.cli.session import Session, find_run

Follow = Annotated[bool, typer.Option("--follow", "-f", help="Keep following until the run is over, or until Ctrl-C.")]


def logs(
    context: typer.Context,
    run: RunName,
    *,
    follow: Follow = False,
    level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Only lines of this level or above.")
    ] = "info",
    service: Annotated[
        list[str] | None, typer.Option(help="Only lines of trainer, evaluator or gateway. Repeatable.")
    ] = None,
    tail: Annotated[int, typer.Option(min=1, max=10_000, help="Only the newest N lines.")] = 200,
    as_json: Json = False,
) -> None:
    """Show what trainer, evaluator and gateway logged about a run."""
    session: Session = context.obj
    services = service or []
    with session.client() as client:
        found = find_run(client, run)
        page = client.logs(found.id, level=level, services=services, tail=tail)
        _show(session, page.lines, follow=follow, as_json=as_json)
        if follow and not found.finished:
            for line in _followed(client, found.id, "log", after=page.cursor, level=level, services=services):
                _show(session, [line], follow=True, as_json=as_json)


def events(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A run; without one, with -f, all of them.", autocompletion=complete_run),
    ] = None,
    *,
    follow: Follow = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Only the newest N events.")] = 1_000,
    as_json: Json = False,
) -> None:
    """Show what happened to a run; without a run and with -f, states and evaluations of all runs live."""
    session: Session = context.obj
    with session.client() as client:
        if run is None and follow:
            for event in client.stream():
                _show_any(session, event.kind, event.data, as_json=as_json)
            return
        found = find_run(client, run or "last")
        page = client.events(found.id, limit=limit)
        _show(session, page.events, follow=follow, as_json=as_json)
        if follow and not found.finished:
            for one in _followed(client, found.id, "event", after=page.cursor):
                _show(session, [one], follow=True, as_json=as_json)


def _followed(
    client: Client,
    run: str,
    kind: Literal["log", "event"],
    *,
    after: str | None,
    level: str | None = None,
    services: Sequence[str] = (),
) -> Iterator[View]:
    """What comes after a page, until the run is over; what was printed up to then is all given."""
    made = LogLine if kind == "log" else RunEvent
    stream = client.stream(run, kinds=("state", kind), level=level, services=services, after=after)
    with contextlib.closing(stream):
        for event in stream:
            if event.kind == kind:
                after = event.id or after
                yield view(made, event.data)
            elif view(Run, event.data).finished:
                break
    if kind == "log":
        yield from client.logs(run, level=level, services=services, after=after).lines
    else:
        yield from client.events(run, after=after).events


def _show(session: Session, items: Sequence[View], *, follow: bool, as_json: bool) -> None:
    """Prints items for people; for programs as one document, or, while it goes on, as one a line."""
    if as_json and not follow:
        session.show_json([item.model_dump(mode="json") for item in items])
        return
    for item in items:
        if as_json:
            session.show(item.model_dump_json())
        elif isinstance(item, LogLine):
            session.show(log_line(item))
        elif isinstance(item, RunEvent):
            session.show(event_line(item))


def _show_any(session: Session, kind: str, data: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        session.show(json.dumps({"kind": kind, **data}, ensure_ascii=False))
    elif kind == "state":
        run = view(Run, data)
        session.show(f"{run.id}  {progress_text(run)}")
    elif kind == "evaluation":
        verdict = view(Evaluation, data)
        session.show(f"{data.get('run', '')}  step {verdict.step:,}: {figures_of(verdict)}")
    else:
        session.show(f"{data.get('run', data.get('id', ''))}  {kind}")
