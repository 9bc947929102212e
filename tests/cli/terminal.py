"""Runs commands of `tandem` in this process, before a gateway that answers from memory."""

import io
from typing import Any

from rich.console import Console

from services.cli.app import run
from services.cli.client import Client
from services.cli.session import Session
from services.cli.settings import CliSettings
from tests.cli.fake_gateway import FakeGateway


class Terminal:
    """Runs commands against a fake gateway and keeps what they print."""

    def __init__(self, answers: dict[tuple[str, str], Any] | None = None, **settings: Any) -> None:
        self.gateway = FakeGateway(answers or {})
        self.settings = settings
        self.keys: list[str | None] = []
        self.output, self.complaints = io.StringIO(), io.StringIO()

    def __call__(self, *arguments: str) -> int:
        return run(
            arguments,
            Session(
                settings=CliSettings(**self.settings),
                connect=self._connect,
                console=Console(file=self.output, width=200),
                errors=Console(file=self.complaints, width=40),
            ),
        )

    def _connect(self, _url: str, *, key: str | None = None) -> Client:
        self.keys.append(key)
        return self.gateway.client()

    @property
    def lines(self) -> list[str]:
        """What was printed on standard output."""
        return self.output.getvalue().splitlines()
