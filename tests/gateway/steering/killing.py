"""Kills a gateway at any system call that touches the volume, or around the start of a trainer."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

CALLS = ("mkdir", "write", "fsync", "rename", "link", "unlink")


class Killed(BaseException):
    """Nothing of the gateway catches it."""


@contextmanager
def killed_at(number: int, launcher: Any = None) -> Iterator[list[int]]:
    """Lets `number` calls through, and none after that, as no call follows a SIGKILL; a write in the middle tears.

    Args:
        number: How many.
        launcher: Whose starts of trainers count as calls too.

    Yields:
        How many calls were tried, as the only element of a list.
    """
    made, thread = [0], threading.get_ident()

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != thread:  # a thread that another test left behind
                return real(*arguments, **named)
            made[0] += 1
            if made[0] > number:
                if name == "write" and made[0] == number + 1:
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        if launcher is not None:
            patch.setattr(launcher, "start", counted("start", launcher.start))
        with suppress(Killed):
            yield made
