"""Recipes: specs of runs that come with tandem, as YAML files named after the run they describe.

They lie in `recipes/`, beside this package in a checkout and in an installation alike. Reading one gives its mapping,
not yet checked, so that settings can be laid over it with `shared.spec.overlay` before `shared.spec.parse_spec`.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from shared.errors import NotFoundError, SpecError

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
SUFFIX = ".yaml"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}", re.ASCII)


def recipe_names(folder: Path = FOLDER) -> list[str]:
    """The names of the recipes in `folder`, in alphabetical order; empty where there is no such folder."""
    return sorted(path.stem for path in folder.glob(f"*{SUFFIX}") if NAME.fullmatch(path.stem))


def load(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """The mapping of the recipe called `name`.

    Raises:
        NotFoundError: There is none of that name; the hint lists those that there are.
        SpecError: Its file is not a mapping in YAML.
    """
    known = recipe_names(folder)
    if name not in known:
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        raise NotFoundError(
            f"there is no recipe {shown!r}", where="recipe", hint=f"There are {', '.join(known) or 'none'}"
        )
    return load_recipe(folder / f"{name}{SUFFIX}")


def load_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a recipe's YAML file, not yet checked (so that settings can be laid over it).

    Raises:
        SpecError: The file is missing, is not YAML, or is not a mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SpecError("no such recipe", where=str(path)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        raise SpecError(f"not YAML: {error}", where=str(path)) from error
    if not isinstance(values, dict):
        raise SpecError("a recipe is a mapping of keys to values", where=str(path))
    return values
