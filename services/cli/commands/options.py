"""Options that several commands share, and how their values are read."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from shared.errors import InputError
from shared.spec import overlay

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its name (the newest of it), or `last`.")]


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
