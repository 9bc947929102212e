"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from services.cli.completion import complete_run, complete_state
from shared.errors import InputError
from shared.spec import overlay
from shared.states import STATES

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's id, its name (the newest of it), or `last`.", autocompletion=complete_run
    ),
]
RunNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="RUN…", help="Ids, names (the newest of each), or `last`.", autocompletion=complete_run),
]
Steps = Annotated[
    list[str], typer.Argument(metavar="STEP…", help="Steps of checkpoints, `best` (of the best weights) or `last`.")
]
States = Annotated[
    list[str] | None,
    typer.Option("--state", help="Only runs in this state. Repeatable.", autocompletion=complete_state),
]
Label = Annotated[str | None, typer.Option("--label", metavar="KEY=VALUE", help="Only runs with this label.")]
Name = Annotated[str | None, typer.Option("--name", help="Only runs of this name.")]


def settings_of(assignments: list[str]) -> dict[str, Any]:
    """The mapping that `--set a.b=1 --set a.c=[x, y]` spells; values are read as YAML.

    Raises:
        InputError: Something is no `key=value`, or its value is not YAML.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.split(".")
        if not equals or not all(keys):
            raise InputError(f"{assignment!r} is no key=value", where="--set", hint="Such as --set ema.decays=[0.999]")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InputError(f"the value of {path} is not YAML: {text!r}", where="--set") from error
        for key in reversed(keys):
            value = {key: value}
        values = overlay(values, value)
    return values


def read_bytes(path: Path) -> bytes:
    """The content of a file that the user named.

    Raises:
        InputError: It cannot be read; names it and says why.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(error.strerror or "cannot be read", where=str(path)) from error


def states_of(given: list[str] | None) -> list[str]:
    """The states that `--state` names, once each; commas between them are fine too.

    Raises:
        InputError: There is no such state.
    """
    states = list(dict.fromkeys(part.strip() for text in given or [] for part in text.split(",")))
    for state in states:
        if state not in STATES:
            raise InputError(f"no state is called {state!r}", where="--state", hint=f"There are {', '.join(STATES)}")
    return states


def labels_of(assignments: list[str]) -> dict[str, str | None]:
    """The labels that `KEY=VALUE` spells; `KEY=` takes one away.

    Raises:
        InputError: Something is no `key=value`.
    """
    labels: dict[str, str | None] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise InputError(f"{assignment!r} is no key=value", where="--label", hint="Such as --label owner=me")
        labels[key] = value or None
    return labels


def write_text(path: Path, content: str) -> None:
    """Writes a file that the user named.

    Raises:
        InputError: It cannot be written.
    """
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise InputError(error.strerror or "cannot be written", where=f"--output {path}") from error
