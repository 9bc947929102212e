"""`docs/recipes.md` names every key of a recipe with its default, every network with its options, and no others."""

import ast
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any

import yaml
from pydantic import BaseModel

from shared.recipes import recipe_names
from shared.spec import Part, RunSpec, parse_spec

ROW = re.compile(r"^\| `([a-z_.]+)` \| (`[^`]*`|required) \|", re.MULTILINE)


def parts_of(annotation: Any) -> list[type[Part]]:
    """The parts that a field may hold: itself, or each of a union."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, UnionType, typing.Annotated):
        return [part for one in typing.get_args(annotation) for part in parts_of(one)]
    return []


def keys(part: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Each key's path and its default, as the page writes it."""
    for name, field in part.model_fields.items():
        below = parts_of(field.annotation)
        for one in below:
            yield from keys(one, f"{path}{name}.")
        if not below and name not in ("schema_version", "kind"):
            yield (
                f"{path}{name}",
                "required" if field.is_required() else f"`{shown(field.get_default(call_default_factory=True))}`",
            )


def shown(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=200).removesuffix("...\n").strip()


def rows(root: Path) -> dict[str, str]:
    page = (root / "docs" / "recipes.md").read_text(encoding="utf-8")
    return dict(ROW.findall(page))


def test_every_key_stands_on_the_page_with_its_default(root: Path) -> None:
    known: dict[str, set[str]] = {}
    for key, default in keys(RunSpec):
        known.setdefault(key, set()).add(default)
    kinds = {key: default for key, default in rows(root).items() if key.endswith(".kind")}
    said = {key: {default} for key, default in rows(root).items() if key not in kinds}
    assert said == known
    spec = RunSpec()
    assert kinds == {key: f"`{getattr(spec, key.partition('.')[0]).kind}`" for key in kinds}
    assert set(kinds) == {"dataset.kind", "optimizer.kind", "learning_rate.kind", "sharing.kind"}


def test_every_network_stands_on_the_page_with_its_options(root: Path) -> None:
    page = (root / "docs" / "recipes.md").read_text(encoding="utf-8")
    for module, function, name in (
        ("tutorial", "tutorial", "tutorial"),
        ("resnet", "small_resnet", "resnet-small"),
        ("slim", "slim", "slim"),
        ("paired", "paired", "paired"),
    ):
        tree = ast.parse((root / "shared" / "ml" / "models" / f"{module}.py").read_text(encoding="utf-8"))
        made = next(one for one in tree.body if isinstance(one, ast.FunctionDef) and one.name == function)
        defaults = [default for default in made.args.kw_defaults if default is not None]
        options = {one.arg for one in made.args.kwonlyargs[-len(defaults) :]}
        row = re.search(rf"^\| `{name}` \|(.*)\|$", page, re.MULTILINE)
        assert row is not None
        assert set(re.findall(r"`([a-z_0-9]+):", row.group(1))) == options, name


def test_every_recipe_stands_on_the_page(root: Path) -> None:
    page = (root / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert [name for name in recipe_names() if f"| [`{name}`](../recipes/{name}.yaml) |" not in page] == []
    manual = (root / "docs" / "cli.md").read_text(encoding="utf-8")
    assert "$ tandem recipes\n" + "\n".join(recipe_names()) + "\n```" in manual


def test_the_recipe_that_the_page_shows_is_one(root: Path) -> None:
    page = (root / "docs" / "recipes.md").read_text(encoding="utf-8")
    shown_there = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert [parse_spec(yaml.safe_load(text), source="the page").name for text in shown_there] == ["flowers"]
