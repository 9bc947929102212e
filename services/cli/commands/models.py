"""`tandem predict` and `tandem models`: ask the best judged weights what a picture shows."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import Json, read_bytes
from services.cli.output import answer_of, models_table, source_of
from services.cli.session import Session
from shared.errors import ImageError

SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


def predict(
    context: typer.Context,
    *,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE…", help="PNG, JPEG or WebP files.")],
    model: Annotated[str, typer.Option(help="A run's id or name, or `best`.")] = "best",
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 3,
    as_json: Json = False,
) -> None:
    """Classify pictures with the best judged weights."""
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


def models(context: typer.Context, as_json: Json = False) -> None:
    """List what can be asked for a classification."""
    session: Session = context.obj
    with session.client() as client:
        found = client.models()
    if as_json:
        session.show_json([model.model_dump(mode="json") for model in found])
    elif found:
        session.console.print(models_table(found), highlight=False)
    else:
        session.tell("Nothing was judged yet; the first checkpoint's verdict brings the first model.")


def media_type(path: Path, data: bytes) -> str:
    """The media type of an encoded picture, told by its first bytes.

    Raises:
        ImageError: It is none of PNG, JPEG and WebP.
    """
    for signature, kind in SIGNATURES.items():
        if data.startswith(signature):
            return kind
    raise ImageError("is no PNG, JPEG or WebP picture", where=str(path), hint="Convert it first")
