"""What holds for every test."""

import os
import re
from collections.abc import Iterator

import pytest

# Before any test imports a library that imports ONNX Runtime; see shared/onnx_runtime.py.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

ASKED_FOR = {
    "photographs": "TANDEM_CIFAR10_DIR",
    "stack": "TANDEM_TEST_STACK",
    "restarts": "TANDEM_ENGINE_RESTARTS",
}
"""Marks of tests that need more than can be installed, and the variable that asks for each of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of faults: those that name a row of docs/reliability.md, and all in tests/faults."""
    for item in items:
        if re.match(r"test_f\d\d_", item.name) or item.path.parent.name == "faults":
            item.add_marker(pytest.mark.fault)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Fails a test that skips in CI: what a laptop may lack is installed there, a skip would hide it."""
    report = yield
    left_out = any(item.get_closest_marker(mark) and name not in os.environ for mark, name in ASKED_FOR.items())
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail") and not left_out:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome, report.longrepr = "failed", f"{item.nodeid} may not skip in CI. {reason}"
    return report
