"""`tandem predict` and `tandem models`: ask the best judged weights what a picture shows, and say which those are."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.client.views import Alias
from services.cli.commands.options import Json, read_bytes
from services.cli.output import alias_of, answer_of, models_table, source_of
from services.cli.session import Session
from shared.errors import ImageError, InputError

app = typer.Typer(invoke_without_command=True)

RunOrAlias = Annotated[str, typer.Argument(metavar="MODEL", help="A run's id or name.")]
Step = Annotated[int, typer.Argument(metavar="STEP", help="The step of an export of it.")]
AliasName = Annotated[str, typer.Option("--alias", help="best, latest, stable, or one of your own.")]
Reason = Annotated[str | None, typer.Option(help="Why, for its history.")]

SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def predict(
    context: typer.Context,
    *,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="PNG, JPEG or WebP files.")],
    model: Annotated[str, typer.Option(help="A run's id or name, or `best`.")] = "best",
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    as_json: Json = False,
) -> None:
    """Classify images with the best weights."""
    session: Session = context.obj
    pictures = [(path, read_bytes(path)) for path in images]
    kinds = [media_type(path, data) for path, data in pictures]  # all are looked at before the first is sent
    answers = []
    with session.client() as client:
        for (path, data), kind in zip(pictures, kinds, strict=True):
            answer = client.classify(data, model=model, media_type=kind, top=top)
            answers.append({"image": str(path), **answer.model_dump(mode="json")})
            if not as_json:
                session.show(f"{path}: {answer_of(answer.predictions[0])}  ({source_of(answer)})")
    if as_json:
        session.show_json(answers)


@app.callback()
def models(context: typer.Context, as_json: Json = False) -> None:
    """List the models that can be asked; move the aliases of their exports."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    with session.client() as client:
        found = client.models()
    if as_json:
        session.show_json([model.model_dump(mode="json") for model in found])
    elif found:
        session.console.print(models_table(found), highlight=False)
    else:
        session.tell("Nothing was judged yet; the first checkpoint's verdict brings the first model.")


@app.command()
def promote(
    context: typer.Context,
    *,
    model: RunOrAlias,
    step: Annotated[
        int | None, typer.Argument(metavar="[STEP]", help="The step of an export; without it the alias stays.")
    ] = None,
    alias: AliasName = "stable",
    pin: Annotated[
        bool | None, typer.Option("--pin/--unpin", help="Stay there; or let best and latest move by themselves again.")
    ] = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Point an alias at the export of a step, once that has passed a trial inference."""
    session: Session = context.obj
    with session.client() as client:
        _show(session, client.promote(model, step, alias=alias, pinned=pin, reason=reason), as_json=as_json)


@app.command()
def rollback(
    context: typer.Context,
    *,
    model: RunOrAlias,
    alias: AliasName = "stable",
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Point an alias at its previous export."""
    session: Session = context.obj
    with session.client() as client:
        _show(session, client.roll_back(model, alias=alias, reason=reason), as_json=as_json)


@app.command()
def canary(
    context: typer.Context,
    *,
    model: RunOrAlias,
    step: Annotated[int | None, typer.Argument(metavar="[STEP]", help="The step of the export to try.")] = None,
    share: Annotated[float, typer.Option(help="Share of the requests, between 0 and 1.")] = 0.1,
    end: Annotated[bool, typer.Option("--end", help="End the canary.")] = False,
    alias: AliasName = "stable",
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Let another export answer a share of an alias' requests."""
    session: Session = context.obj
    if end == (step is not None):
        raise InputError("either a step is tried out, or it ends", where="tandem models canary", hint="STEP, or --end")
    with session.client() as client:
        if step is None:
            found = client.end_canary(model, alias=alias)
        else:
            found = client.canary(model, step, share=share, alias=alias, reason=reason)
        _show(session, found, as_json=as_json)


@app.command()
def aliases(context: typer.Context, *, model: RunOrAlias, as_json: Json = False) -> None:
    """List what each alias of a run points at, and why."""
    session: Session = context.obj
    with session.client() as client:
        found = client.aliases(model)
    if as_json:
        session.show_json([alias.model_dump(mode="json") for alias in found])
    else:
        for alias in found:
            session.show(alias_of(alias))


@app.command()
def unalias(
    context: typer.Context, *, model: RunOrAlias, alias: Annotated[str, typer.Argument(help="An alias of the run.")]
) -> None:
    """Remove an alias; best and latest start to move by themselves again."""
    session: Session = context.obj
    with session.client() as client:
        client.remove_alias(model, alias=alias)
    session.tell(f"{alias} of {model} is removed.")


def _show(session: Session, alias: Alias, *, as_json: bool) -> None:
    if as_json:
        session.show_json(alias.model_dump(mode="json"))
    else:
        session.show(alias_of(alias))


def media_type(path: Path, data: bytes) -> str:
    """The media type of an encoded picture, told by its first bytes.

    Raises:
        ImageError: It is none of PNG, JPEG and WebP.
    """
    for signature, kind in SIGNATURES.items():
        if data.startswith(signature):
            return kind
    raise ImageError("is no PNG, JPEG or WebP picture", where=str(path), hint="Convert it first")
