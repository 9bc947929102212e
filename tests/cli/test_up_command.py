"""What `tandem up` finds out before it starts anything."""

import fcntl
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from services.cli.app import run
from services.cli.client import Client
from services.cli.commands.up import PORT, free_port
from services.cli.session import Session
from services.cli.settings import CliSettings
from shared.errors import InputError


def tandem(*arguments: str) -> tuple[int, str]:
    def connect(_url: str) -> Client:
        raise AssertionError("nothing is started")

    complaints = io.StringIO()
    session = Session(
        settings=CliSettings(), connect=connect, console=Console(file=io.StringIO()), errors=Console(file=complaints)
    )
    return run(arguments, session), complaints.getvalue()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_port_that_was_asked_for_and_is_taken_is_an_error_that_names_it(taken: int) -> None:
    with pytest.raises(InputError, match=f"--port {taken}: cannot be listened on"):
        free_port(taken, default=PORT)


def test_default_port_that_is_taken_gives_way_to_a_free_one(taken: int) -> None:
    port = free_port(None, default=taken)
    assert port != taken
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))


def test_free_default_port_is_taken(taken: int) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert free_port(None, default=free) == free
    assert free_port(free, default=taken) == free


def test_second_one_on_a_volume_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "up" / "lock"
    lock.parent.mkdir()
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, complaint = tandem("up", "--recipe", "shapes", "--volume", str(tmp_path))
    assert code == 5
    assert f"{tmp_path}: another `tandem up` is at work" in complaint


def test_volume_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, complaint = tandem("up", "--volume", str(tmp_path / "file" / "volume"))
    assert code == 2
    assert f"{tmp_path}/file/volume: cannot be written to" in complaint


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--steps", "-1"), "steps"),
        (("--steps", "many"), "--steps"),
        (("--recipe", "cifar11"), "cifar11"),
        (("--recipe", "none.yaml"), "none.yaml"),
        (("--recipe", "cifar10", "--data", "/none/such"), "/none/such"),
        (("--port", "70000"), "--port"),
    ],
)
def test_bad_input_is_named_and_nothing_is_started(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    code, complaint = tandem("up", "--volume", str(tmp_path), *arguments)
    assert code in {2, 4}
    assert named in complaint and complaint.count("\n") == 1
    assert not (tmp_path / "runs").exists() and not list(tmp_path.glob("up/*.log"))
