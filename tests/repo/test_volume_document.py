"""docs/volume.md names every path that the layout knows, and no other, with a writer for each."""

import inspect
import re
from pathlib import Path

from shared.layout import RunFolder, SlotFolder, Volume

ROOT = Path("/volume")
# Stand-ins for what a caller names; in the document they are the placeholders beside them.
STEP, NAME = 31_415, "somebody"


def known_paths() -> set[str]:
    """Every path that a property or method of the layout gives, relative to the volume, as the document writes it."""
    volume = Volume(ROOT)
    run, slot = volume.run("some-run"), volume.slot("some-slot")
    found = [*properties(volume), *properties(run), *properties(slot), volume.evaluator(NAME)]
    found += [
        run.checkpoint(STEP),
        run.lease(STEP),
        run.verdict(STEP, "raw"),
        run.answers(STEP, "raw"),
        run.export(STEP),
    ]
    found += [run.tensorboard("train"), run.tensorboard("eval")]
    return {as_documented(path) for path in found if path not in (ROOT, run.root, slot.root, volume.runs, volume.slots)}


def properties(folder: object) -> list[Path]:
    names = [name for name, value in vars(type(folder)).items() if isinstance(value, property)]
    return [value for name in names if isinstance(value := getattr(folder, name), Path)]


def as_documented(path: Path) -> str:
    text = path.relative_to(ROOT).as_posix()
    for name, placeholder in {"some-run": "<run>", "some-slot": "<slot>", str(STEP): "<step>", NAME: "<name>"}.items():
        text = re.sub(rf"(?<![a-z-]){name}(?![a-z-])", placeholder, text)
    return re.sub(r"evaluations/<step>/raw", "evaluations/<step>/<kind>", text)


def documented(root: Path) -> dict[str, str]:
    """Path without final slash → writer, of the table under "Paths"."""
    text = (root / "docs" / "volume.md").read_text(encoding="utf-8")
    section = text.partition("## Paths")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \|", section, re.MULTILINE)
    return {path.rstrip("/"): writer.strip() for path, writer in rows}


def test_every_path_of_the_layout_is_specified_and_none_besides(root: Path) -> None:
    assert documented(root).keys() == known_paths()


def test_every_path_has_a_writer(root: Path) -> None:
    assert [path for path, writer in documented(root).items() if not writer] == []


def test_every_method_that_makes_a_path_is_known_to_this_test() -> None:
    made = {
        name
        for kind in (Volume, RunFolder, SlotFolder)
        for name, value in inspect.getmembers(kind, inspect.isfunction)
        if inspect.signature(value).return_annotation is Path
    }
    assert made == {"checkpoint", "lease", "verdict", "answers", "export", "tensorboard", "evaluator"}
