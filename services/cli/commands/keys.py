"""`tandem keys`: who may ask a gateway. Works on its key file, on this machine, whether or not a gateway runs."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import Json
from services.cli.output import keys_table
from services.cli.session import Session
from shared.errors import InputError
from shared.keys import NAME, SCOPES, KeyFile, Scope, create_key, read_keys, revoke_key

app = typer.Typer(help="Make and revoke the API keys of a gateway.", no_args_is_help=True)

KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; audit lines name it.")]
File = Annotated[Path | None, typer.Option(help="The key file; otherwise TANDEM_GATEWAY_KEYS names it.")]


@app.command("create")
def create(
    context: typer.Context,
    *,
    name: KeyName,
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", help=f"What it opens: {', '.join(SCOPES)}. Repeatable; read without.")
    ] = None,
    file: File = None,
    as_json: Json = False,
) -> None:
    """Make a key and print its secret, once: only a hash of it is kept."""
    session: Session = context.obj
    if not re.fullmatch(NAME, name):
        raise InputError(f"{name!r} is no name", where="NAME", hint="Letters, digits and . _ -, at most 60 of them")
    place, asked = _file(session, file), _scopes(scopes or ["read"])
    secret = create_key(place, name=name, scopes=asked, clock=time.time)
    if as_json:
        session.show_json({"name": name, "scopes": list(asked), "key": secret, "file": str(place)})
        return
    session.show(secret)
    session.tell(f"the key {name} with {', '.join(asked)} is in {place}; the line above is shown only this once")


@app.command("list")
def list_keys(context: typer.Context, *, file: File = None, as_json: Json = False) -> None:
    """List the keys: names and scopes. Their secrets are kept nowhere."""
    session: Session = context.obj
    keys = _read(_file(session, file)).keys
    if as_json:
        session.show_json([key.model_dump(mode="json", exclude={"sha256"}) for key in keys])
    else:
        session.console.print(keys_table(keys))


@app.command("revoke")
def revoke(context: typer.Context, *, name: KeyName, file: File = None) -> None:
    """Revoke a key, at once, also in a gateway that is running."""
    session: Session = context.obj
    place = _file(session, file)
    revoke_key(place, name)
    session.show(f"the key {name} is no longer in {place}")


def _file(session: Session, file: Path | None) -> Path:
    place = file or session.settings.gateway_keys
    if place is None:
        raise InputError(
            "which key file is meant is not said", where="--file", hint="Name it here, or in TANDEM_GATEWAY_KEYS"
        )
    return place.expanduser().absolute()


def _read(place: Path) -> KeyFile:
    try:
        return read_keys(place)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(place)) from error


def _scopes(given: list[str]) -> tuple[Scope, ...]:
    asked = [part.strip() for text in given for part in text.split(",")]
    for each in asked:
        if each not in SCOPES:
            raise InputError(f"no scope is called {each!r}", where="--scope", hint=f"There are {', '.join(SCOPES)}")
    return tuple(each for each in SCOPES if each in asked)
