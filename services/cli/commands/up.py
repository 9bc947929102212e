"""`tandem up`: wires the processes, the plan and the screen together."""

import contextlib
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from services.cli.client import Client, connect
from services.cli.commands.data import fetch_cifar10
from services.cli.commands.options import Json
from services.cli.screen import Screen
from services.cli.session import Session
from services.cli.up.children import Child, Supervisor
from services.cli.up.leftovers import MARK, kill_marked, stop_leftovers
from services.cli.up.picture import TestPicture, write_test_picture
from services.cli.up.plan import Plan, Planner
from services.cli.up.together import STOP_SECONDS, Together
from shared import atomic
from shared.data.catalog import open_dataset
from shared.devices import trains_on_gpu
from shared.errors import ConflictError, InputError
from shared.layout import Volume
from shared.lifecycle import StopEvent

HOST = "127.0.0.1"
PORT = 8000
FETCH_TIMEOUT, FETCH_ATTEMPTS = 5.0, 2  # to find out soon that there is no way out


def up(
    context: typer.Context,
    *,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name, or a YAML file's path.")] = None,
    data: Annotated[Path | None, typer.Option(help="Where the data set's files are.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to train, instead of the recipe's.")] = None,
    volume: Annotated[Path | None, typer.Option(help="The folder that everything is kept in.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The gateway's port; 8000, or a free one if that is taken.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep serving when the run is over, until Ctrl-C.")] = False,
    as_json: Json = False,
) -> int:
    """Train, evaluate and serve on this machine until the run is done.

    Starts the gateway, the evaluator and a trainer, follows one run to its end, and stops all three. Ctrl-C stops them
    in order, a second Ctrl-C at once; running it again goes on where it was.
    """
    session: Session = context.obj
    root = (volume or session.settings.volume).expanduser().resolve()
    place = Volume(root)
    atomic.probe_writable(root)
    with _only_one(root / "up" / "lock"):
        # Standard output is for the document alone, if there is to be one.
        screen = Screen(console=session.errors if as_json else session.console, clock=time.monotonic)
        planner = Planner(
            check=lambda spec: open_dataset(spec, volume=place),
            fetch=lambda: fetch_cifar10(place, screen=screen, timeout=FETCH_TIMEOUT, attempts=FETCH_ATTEMPTS),
            cifar10=session.settings.cifar10_dir,
            gpu=trains_on_gpu(os.environ),
        )
        plan = planner.plan(recipe=recipe, data=data, steps=steps)
        if plan.note is not None:
            screen.line(plan.note)
        if stop_leftovers(root, grace=STOP_SECONDS, clock=time.monotonic, wait=time.sleep):
            screen.line("stopped what an earlier `tandem up` that was killed had left running")
        chosen = free_port(port, default=PORT)
        if port is None and chosen != PORT:
            screen.line(
                f"port {PORT} is taken; the gateway listens on {chosen}: export TANDEM_URL=http://{HOST}:{chosen}"
            )
        supervisor = Supervisor(children=_children(root, chosen), clock=time.monotonic)
        with connect(f"http://{HOST}:{chosen}", key=session.key) as client:
            together = _together(plan, place, supervisor, client, screen, keep=keep)
            code = together.run()
        if as_json:
            session.show_json(together.result)
        return code


def _together(
    plan: Plan, volume: Volume, supervisor: Supervisor, client: Client, screen: Screen, *, keep: bool
) -> Together:
    def kill(code: int) -> None:
        supervisor.kill()
        kill_marked(volume.root, "services.trainer")
        os._exit(code)

    def picture() -> TestPicture:
        dataset = open_dataset(plan.spec.dataset, volume=volume)
        return write_test_picture(dataset, volume.root / "up", number=int(time.time()))

    stop = StopEvent(exit_now=kill)
    stop.install()
    signal.signal(signal.SIGHUP, lambda *_: stop.set())  # the terminal was closed
    return Together(
        plan=plan,
        supervisor=supervisor,
        client=client,
        picture=picture,
        screen=screen,
        stop=stop,
        clock=time.monotonic,
        sleep=time.sleep,
        keep=keep,
    )


def _children(root: Path, port: int) -> list[Child]:
    environment = {**os.environ, MARK: str(root), "PYTHONUNBUFFERED": "1"}

    def child(service: str, *flags: str) -> Child:
        command = [sys.executable, "-m", f"services.{service}", "--volume", str(root), *flags]
        return Child(name=service, command=command, log=root / "up" / f"{service}.log", environment=environment)

    return [child("gateway", "--host", HOST, "--port", str(port), "--stop-slots-on-exit"), child("evaluator")]


def free_port(wanted: int | None, *, default: int) -> int:
    """The port that was asked for, or the default one, or a free one where nobody asked and that is taken.

    Raises:
        InputError: The port that was asked for cannot be had.
    """
    problem = None
    for candidate in (default, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
                return int(probe.getsockname()[1])
            except OSError as error:
                problem = error
    raise InputError(
        f"cannot be listened on: {problem and problem.strerror}",
        where="--port" if wanted is None else f"--port {wanted}",
        hint="Leave it out for a free one",
    ) from problem


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                "another `tandem up` is at work on this volume",
                where=str(lock.parent.parent),
                hint="Name another --volume",
            ) from error
        yield
