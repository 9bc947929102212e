"""From mappings, as YAML and JSON hold them, to specs: laid over each other, then checked, with errors for people."""

from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError

from shared.errors import SpecError
from shared.spec.run import RunSpec

UNWRITABLE = "has a character that no file can hold (half of a surrogate pair)"


def parse_spec(values: Any, *, source: str) -> RunSpec:
    """A checked spec from parsed YAML or JSON.

    Args:
        values: A mapping.
        source: Where it came from, for the error.

    Raises:
        SpecError: An unknown key, a missing or bad value; `where` names the source and the field's path.
    """
    if not isinstance(values, dict):
        raise SpecError(f"a run's specification is a mapping, not {type(values).__name__}", where=source)
    if (place := _unwritable(values)) is not None:
        raise SpecError(UNWRITABLE, where=f"{source}: {place}")
    try:
        return RunSpec.model_validate(values)
    except ValidationError as error:
        raise spec_error(error, source=source) from error


def _unwritable(values: Any) -> str | None:
    """The path of a text, key or value, that cannot be encoded, as JSON and YAML can hold; None if there is none."""
    left, seen = [("", values)], set()
    while left:
        place, value = left.pop()
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                return place
        elif (
            isinstance(value, dict | list) and id(value) not in seen
        ):  # YAML's aliases may stand for much, or for itself
            seen.add(id(value))
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                path = f"{place}.{key}".lstrip(".").encode(errors="replace").decode()
                left += [(path, key), (path, inner)]
    return None


def _writable(values: dict[str, Any]) -> dict[str, Any]:
    if (place := _unwritable(values)) is not None:
        raise ValueError(f"{place}: {UNWRITABLE}")
    return values


Changes = Annotated[dict[str, Any], AfterValidator(_writable)]
"""What is to be laid over a spec, not yet checked, but for characters that could not even be told of."""


def spec_error(error: ValidationError, *, source: str) -> SpecError:
    """One error for people from pydantic's list: each field's path and what is wrong with it."""
    problems = {}
    for item in error.errors(include_url=False):
        unknown = item["type"] == "extra_forbidden"
        path = ".".join(str(part) for part in item["loc"])
        problems[path] = "unknown key" if unknown else item["msg"].removeprefix("Value error, ")
    paths = [path for path in problems if path]
    where = f"{source}: {', '.join(paths)}" if paths else source
    if len(problems) == 1:
        return SpecError(*problems.values(), where=where)
    return SpecError("; ".join(f"{path}: {text}" if path else text for path, text in problems.items()), where=where)


def overlay(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes` laid over it, mappings merged key by key. Neither argument is altered.

    A mapping of another `kind` takes the place of the one below, whose keys say nothing about it.
    """
    if "kind" in values and "kind" in changes and changes["kind"] != values["kind"]:
        return dict(changes)
    merged = dict(values)
    for key, change in changes.items():
        below = merged.get(key)
        merged[key] = overlay(below, change) if isinstance(below, dict) and isinstance(change, dict) else change
    return merged
