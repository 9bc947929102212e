"""Processes of benchmarks: what they are told, and that they end with the block."""

import signal
from pathlib import Path

import pytest

from benchmarks.processes import program, until


def test_a_program_ends_with_the_block_also_if_it_was_stopped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TANDEM_EVALUATOR_NAME", "inherited")
    with program("http.server", "0", "--bind", "127.0.0.1", TANDEM_EVALUATOR_THREADS="1") as process:
        environment = Path(f"/proc/{process.pid}/environ")
        # Empty until the kernel has made the program's memory, which takes a moment longer than the call does.
        settings = until(lambda: environment.read_bytes() or None, "its settings").split(b"\0")
        process.send_signal(signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL
    assert [each for each in settings if each.startswith(b"TANDEM_")] == [b"TANDEM_EVALUATOR_THREADS=1"]


def test_what_never_comes_is_named():
    assert until(iter([None, None, 7]).__next__, "a number") == 7
    with pytest.raises(RuntimeError, match="a number never came"):
        until(lambda: None, "a number", within=0.0)
