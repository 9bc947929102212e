"""What every command is given: how to reach the gateway, and where to print."""

import contextlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from services.cli.client import Client
from services.cli.client.views import Run
from services.cli.settings import CliSettings
from shared.errors import InputError, NotFoundError

RUN_ID = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{4}", re.ASCII)


@dataclass(frozen=True)
class Session:
    """One call of `tandem`.

    Args:
        settings: From the environment.
        connect: Makes a client of the gateway at an address, with a `key`.
        console: Standard output: results, and nothing else.
        errors: Standard error: what went wrong, and what happens meanwhile.
    """

    settings: CliSettings
    connect: Callable[..., Client]
    console: Console
    errors: Console

    def client(self) -> Client:
        """A client of the gateway that the settings name."""
        return self.connect(self.settings.url, key=self.key)

    @property
    def key(self) -> str | None:
        """The API key that the settings have."""
        key = self.settings.api_key
        return None if key is None else key.get_secret_value()

    def show(self, text: str) -> None:
        """Prints one line of a result, as it is: never wrapped, and nothing in it is taken for markup."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def tell(self, text: str) -> None:
        """Prints one line beside the results, for people alone."""
        self.errors.print(text, markup=False, highlight=False, soft_wrap=True)

    def show_json(self, values: Any) -> None:
        """Prints a result for programs: one JSON document."""
        self.show(json.dumps(values, indent=2, ensure_ascii=False))


def find_run(client: Client, name: str) -> Run:
    """The run that a person means by `name`: its id, its name (the newest that bears it), or `last`.

    Raises:
        NotFoundError: There is none.
    """
    if RUN_ID.fullmatch(name):
        return client.run(name)
    named = client.runs(limit=1) if name == "last" else client.runs(name=name, limit=1)
    if named:
        return named[-1]
    with contextlib.suppress(NotFoundError):
        return client.run(name)  # a run that was started by hand may bear any id
    raise NotFoundError(f"there is no run {name!r}", hint="`tandem runs list` shows those that there are")


def step_of(client: Client, run: Run, text: str) -> int:
    """The step of a checkpoint that a person means: a number, `best` or `last`.

    Raises:
        NotFoundError: Nothing was judged, or there is no checkpoint yet.
        InputError: It is none of the three.
    """
    if text == "best":
        if run.best is None:
            raise NotFoundError(f"no weights of run {run.id} were judged yet", hint="`tandem wait` waits for a verdict")
        return run.best.step
    if text == "last":
        steps = [checkpoint.step for checkpoint in client.checkpoints(run.id)]
        if not steps:
            raise NotFoundError(f"run {run.id} has no checkpoint yet")
        return max(steps)
    if not text.isdecimal():
        raise InputError(f"{text!r} is no step", where="STEP", hint="It is a number, `best` or `last`")
    return int(text)
