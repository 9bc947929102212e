"""`tandem data`: describe and fetch data sets on this machine. Needs no gateway."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from services.cli.commands.options import Json
from services.cli.screen import Screen
from services.cli.session import Session
from shared.data.catalog import open_dataset
from shared.data.description import Description, describe
from shared.data.download import Downloader
from shared.layout import Volume
from shared.spec import parse_spec

app = typer.Typer(help="Describe and fetch data sets on this machine.", no_args_is_help=True)

VolumeFolder = Annotated[Path | None, typer.Option("--volume", help="The folder that everything is kept in.")]


@app.command("describe")
def describe_data(
    context: typer.Context,
    *,
    kind: Annotated[str, typer.Argument(help="cifar10, cifar100, folder, npz, idx or shapes.")] = "cifar10",
    data: Annotated[Path | None, typer.Option(help="Where its files are; without it, on the volume.")] = None,
    volume: VolumeFolder = None,
    as_json: Json = False,
) -> None:
    """Check a data set and describe it: classes, counts, size, mean and standard deviation of its pixels."""
    session: Session = context.obj
    path = None if data is None else str(data.expanduser().absolute())
    spec = parse_spec({"dataset": {"kind": kind, "path": path}}, source="tandem data describe").dataset
    found = describe(open_dataset(spec, volume=_volume(session, volume)))
    if as_json:
        session.show_json(dataclasses.asdict(found))
        return
    for line in description_lines(found):
        session.show(line)


@app.command("fetch")
def fetch_data(
    context: typer.Context,
    *,
    kind: Annotated[Literal["cifar10"], typer.Argument(help="Which one.")] = "cifar10",
    volume: VolumeFolder = None,
    as_json: Json = False,
) -> None:
    """Download a data set to the volume; an interrupted download is resumed."""
    session: Session = context.obj
    folder = fetch_cifar10(_volume(session, volume), screen=Screen(console=session.errors, clock=time.monotonic))
    if as_json:
        session.show_json({"kind": kind, "path": str(folder)})
    else:
        session.show(str(folder))


def fetch_cifar10(volume: Volume, *, screen: Screen, timeout: float = 30.0, attempts: int = 5) -> Path:
    """Downloads CIFAR-10 to the volume and shows how far it is. Returns the folder with its files.

    Raises:
        DownloadError: It cannot be done; says what was tried.
    """

    def progress(done: int, total: int) -> None:
        screen.progress(f"fetching CIFAR-10: {done / 1e6:.1f} of {total / 1e6:.1f} MB", done / total if total else None)

    with screen.live():
        return Downloader(volume=volume, progress=progress, timeout=timeout, attempts=attempts).run()


def description_lines(found: Description) -> list[str]:
    """A description for people, a fact a line."""
    height, width, channels = found.image_shape
    lines = [
        f"kind         {found.kind}",
        f"pictures     {found.train_examples:,} to train, {found.test_examples:,} to test",
        f"size         {height} x {width}, {channels} channels",
        f"mean         {', '.join(f'{value:.1f}' for value in found.mean)}",
        f"deviation    {', '.join(f'{value:.1f}' for value in found.deviation)}",
        f"fingerprint  {found.fingerprint[:16]}",
    ]
    width = max(len(name) for name in found.classes)
    for name, train, test in zip(found.classes, found.train_counts, found.test_counts, strict=True):
        lines.append(f"class        {name:<{width}}  {train:>7,} to train  {test:>6,} to test")
    return lines


def _volume(session: Session, flag: Path | None) -> Volume:
    return Volume((flag or session.settings.volume).expanduser().resolve())
