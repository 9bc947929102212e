"""What holds for every test."""

import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before any test imports a library that imports ONNX Runtime; see shared/onnx_runtime.py.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

ASKED_FOR = {
    "photographs": "TANDEM_CIFAR10_DIR",
    "stack": "TANDEM_TEST_STACK",
    "restarts": "TANDEM_ENGINE_RESTARTS",
}
"""Marks of tests that need more than can be installed, and the variable that asks for each of them."""

LONGEST = {"processes", "web"}
"""Folders of tests that take longest."""

ROOM, DOOR = Path(__file__), Path(__file__).parent
"""Locked while a test runs, and while one waits for that."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of faults: those that name a row of docs/reliability.md, and all in tests/faults.

    Workers take file after file in this order: long ones first, so that none is left with one at the end while the
    others have nothing to do; and those in which a test must be alone last, so that few wait for it.
    """
    for item in items:
        if re.match(r"test_f\d\d_", item.name) or item.path.parent.name == "faults":
            item.add_marker(pytest.mark.fault)
    alone, slow = ({item.path for item in items if item.get_closest_marker(mark)} for mark in ("alone", "slow"))
    first = slow | {item.path for item in items if item.path.parent.name in LONGEST}
    items.sort(key=lambda item: (item.path in alone, item.path not in first))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Lets no other worker test anything beside a test that must be alone."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    alone = item.get_closest_marker("alone") is not None
    door = os.open(DOOR, os.O_RDONLY)
    room = os.open(ROOM, os.O_RDONLY)
    try:
        fcntl.flock(door, fcntl.LOCK_EX)  # kept while one waits for the others to leave, so that none comes in
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)
    finally:
        fcntl.flock(room, fcntl.LOCK_UN)  # also for children that hold it open
        os.close(room)
        os.close(door)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fails a test that skips in CI: what a laptop may lack is installed there, a skip would hide it."""
    report = yield
    left_out = any(item.get_closest_marker(mark) and name not in os.environ for mark, name in ASKED_FOR.items())
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail") and not left_out:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"{item.nodeid} may not skip in CI. {reason}"
    return report
