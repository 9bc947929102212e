"""What differs between two specifications, in words for people."""

import json
from typing import Any


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two specs as plain values, a line for each field: its path, what it was, what it is."""
    old, new = _flat(before), _flat(now)
    return [
        f"{path}: was {_shown(old, path)}, is {_shown(new, path)}"
        for path in sorted({*old, *new})
        if old.get(path) != new.get(path)
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def _shown(values: dict[str, Any], path: str) -> str:
    return json.dumps(values[path]) if path in values else "absent"
