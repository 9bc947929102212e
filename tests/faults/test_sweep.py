"""Fault matrix, rows 1 and 3-7: every way in which this project writes to a volume, under every fault at every call.

Each writer is ended before each of its calls, and in the middle of each write; each call fails with ENOSPC, EIO and
EDQUOT; each write takes a part only; the power goes before each call, with and without the names that were not synced.
After each, readers see what was there before or what was to be there, whole; and the writer, started again, succeeds.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared import atomic
from shared.checkpoints import CheckpointStore
from shared.layout import RunFolder, Volume
from shared.records import Desired, Event, LineWriter, Verdict, encode_record, read_lines, read_record, write_record
from tests.faults.commits import RUN, commit_step, groups_at, listed_and_whole
from tests.faults.shim import Calls, lose_unsynced, wrapped

LEAST = 1_000
SECONDS = 300.0
CODES = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


class Ended(BaseException):
    """Raised in place of a call and of every later one: the process is gone, nothing tidies up."""


class Writer:
    """One way of writing. What a reader sees is what was before the work, or what is after it, and nothing between."""

    names_are_promised = True

    def __init__(self, root: Path) -> None:
        self.folder: RunFolder = Volume(root).run(RUN)
        self.store = CheckpointStore(self.folder)

    def prepare(self) -> None: ...

    def work(self) -> None:
        raise NotImplementedError

    def look(self) -> object:
        """What a reader sees; raises if anything is not whole."""
        raise NotImplementedError


class CommitsACheckpoint(Writer):
    def prepare(self) -> None:
        commit_step(self.store, 1)

    def work(self) -> None:
        self.store.sweep()
        if 2 not in self.store.steps():
            commit_step(self.store, 2)

    def look(self) -> object:
        return listed_and_whole(self.store)


class RemovesACheckpoint(Writer):
    def prepare(self) -> None:
        commit_step(self.store, 1)
        commit_step(self.store, 2)

    def work(self) -> None:
        self.store.sweep()
        self.store.remove(1)

    def look(self) -> object:
        return listed_and_whole(self.store)


class MovesADamagedOneAway(Writer):
    names_are_promised = False  # that a move is undone is not played

    def prepare(self) -> None:
        commit_step(self.store, 1)
        commit_step(self.store, 2)

    def work(self) -> None:
        if 2 in self.store.steps():
            self.store.quarantine(2)

    def look(self) -> object:
        away = [path.name for path in self.folder.quarantine.iterdir()] if self.folder.quarantine.exists() else []
        assert (2 in self.store.steps()) != ("2" in away)
        return listed_and_whole(self.store)


class ReplacesARecord(Writer):
    def prepare(self) -> None:
        write_record(self.folder.desired, Desired(generation=1, state="running", time=0.0))

    def work(self) -> None:
        atomic.sweep(self.folder.root)
        write_record(self.folder.desired, Desired(generation=2, state="stopped", time=0.0))

    def look(self) -> object:
        return read_record(self.folder.desired, Desired).generation


class WritesAVerdictOnce(Writer):
    def prepare(self) -> None:
        atomic.make_folder(self.folder.evaluations)

    def work(self) -> None:
        atomic.sweep(self.folder.evaluations / "1")
        verdict = Verdict(run=RUN, step=1, weights="raw", examples=10, precision_at_1=0.5, time=0.0)
        atomic.create_file(self.folder.verdict(1, "raw"), encode_record(verdict))

    def look(self) -> object:
        path = self.folder.verdict(1, "raw")
        return read_record(path, Verdict).precision_at_1 if path.exists() else None


class AdoptsFilesOfAnother(Writer):
    """A fork's first checkpoint: hard links to files that are there, and files of its own."""

    def prepare(self) -> None:
        commit_step(self.store, 1)

    def work(self) -> None:
        atomic.sweep(self.folder.root)
        if not self.folder.initial.exists():
            with atomic.committing(self.folder.initial) as made:
                made.adopt("raw.safetensors", self.folder.checkpoint(1) / "raw.safetensors")
                made.write("manifest.json", (self.folder.checkpoint(1) / "manifest.json").read_bytes())

    def look(self) -> object:
        listed_and_whole(self.store)
        if not self.folder.initial.exists():
            return None
        names = ("raw.safetensors", "manifest.json")
        return all(
            (self.folder.initial / name).read_bytes() == (self.folder.checkpoint(1) / name).read_bytes()
            for name in names
        )


class AppendsLines(Writer):
    """Of lines no more is promised than that readers see whole ones, in order, and that writing goes on behind them."""

    names_are_promised = False

    def prepare(self) -> None:
        atomic.make_folder(self.folder.trainer)
        self.written = 0

    def work(self) -> None:
        lines = LineWriter(self.folder.trainer_events)
        try:
            for _ in range(4):
                self.written += 1
                lines.append(Event(time=0.0, service="trainer", kind="test", message="a line", step=self.written))
        finally:
            lines.close()

    def look(self) -> object:
        steps = [event.step for _, event in read_lines(self.folder.trainer_events, Event)]
        assert steps == sorted(set(steps))
        return steps


class TrainsOn(Writer):
    """What a trainer does again and again: commit, prune what is older, say so, beat."""

    def prepare(self) -> None:
        commit_step(self.store, 1)

    def work(self) -> None:
        self.store.sweep()
        newest = max(self.store.steps())
        for step in range(newest + 1, 4):
            commit_step(self.store, step)
            for older in self.store.steps()[:-1]:
                self.store.remove(older)
            write_record(self.folder.desired, Desired(generation=step, state="running", time=0.0))

    def look(self) -> object:
        steps = listed_and_whole(self.store)
        assert steps, "there is always one"
        return max(steps)


WRITERS: list[type[Writer]] = [
    CommitsACheckpoint,
    RemovesACheckpoint,
    MovesADamagedOneAway,
    ReplacesARecord,
    WritesAVerdictOnce,
    AdoptsFilesOfAnother,
    AppendsLines,
    TrainsOn,
]


class Sweep:
    """Injects faults into one writer, each on a volume of its own."""

    def __init__(self, kind: type[Writer], root: Path) -> None:
        self.kind = kind
        self.root = root
        self.count: Counter[str] = Counter()
        with self.volume() as (writer, calls):
            before = writer.look()
            with wrapped(calls):
                begin = len(calls.made)
                writer.work()
            after = writer.look()
            self.calls = calls.made[begin:]
        # Between what was and what is to be, a writer that does several things leaves some of them done.
        self.allowed: Callable[[object], bool] = (
            (lambda seen: before <= seen <= after)  # type: ignore[operator]
            if isinstance(before, int)
            else (lambda seen: seen in (before, after) or kind is AppendsLines)
        )
        self.after = after

    @contextlib.contextmanager
    def volume(self) -> Iterator[tuple[Writer, Calls]]:
        root = Path(tempfile.mkdtemp(dir=self.root))
        writer, calls = self.kind(root), Calls(root)
        with wrapped(calls):
            writer.prepare()
        try:
            yield writer, calls
        finally:
            shutil.rmtree(root)

    def strike(
        self,
        what: str,
        number: int,
        fault: Callable[[int], None] = lambda at: None,
        *,
        taken: Callable[[int, int], int] | None = None,
        afterwards: Callable[[Calls], None] = lambda calls: None,
        tidy: bool = False,
    ) -> None:
        """Lets `fault` be asked before each call of the writer's work, with the call's number from 1."""
        self.count[what] += 1
        with self.volume() as (writer, calls):
            begin = len(calls.made)
            calls.fault = lambda at, name: fault(at - begin)
            if taken is not None:
                calls.taken = lambda at, length: taken(at - begin, length)
            told = f"{self.kind.__name__}: {what} at call {number} ({self.calls[number - 1]})"
            with wrapped(calls), contextlib.suppress(Ended, OSError):
                writer.work()
            afterwards(calls)
            if tidy:
                assert list(calls.root.rglob(".tmp-*")) == [], f"{told}: something half-written stays"
            seen = writer.look()
            assert self.allowed(seen), f"{told}: readers see {seen}"
            writer.work()
            assert self.kind is AppendsLines or writer.look() == self.after, f"{told}: it did not go on"
            writer.look()

    def all(self) -> None:
        for number, name in enumerate(self.calls, start=1):

            def end(at: int, number: int = number) -> None:
                if at >= number:
                    raise Ended

            self.strike("ended before", number, end)
            self.strike("power lost, names kept", number, end, afterwards=lambda c: lose_unsynced(c, keep_names=True))
            if self.kind.names_are_promised:
                self.strike(
                    "power lost, names lost", number, end, afterwards=lambda c: lose_unsynced(c, keep_names=False)
                )
            for code in CODES if name != "close" else ():

                def fail(at: int, number: int = number, code: int = code) -> None:
                    if at == number:
                        raise OSError(code, os.strerror(code))

                self.strike(errno.errorcode[code], number, fail, tidy=name != "unlink")

            def fail_on(at: int, number: int = number) -> None:
                if at >= number:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))

            self.strike("EIO from then on", number, fail_on)
            if name == "write":
                half = lambda at, length, number=number: length // 2 if at == number else length  # noqa: E731
                self.strike("short write", number, taken=half)

                def torn(at: int, number: int = number) -> None:
                    if at > number:
                        raise Ended

                self.strike("ended within", number, torn, taken=half)


@pytest.mark.slow
def test_f01_f03_f04_f05_f07_every_writer_survives_every_fault_at_every_call(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert groups_at(1).keys() == {"raw", "ema-0.9999", "optimizer"}
    total: Counter[str] = Counter()
    began = time.monotonic()
    # In memory where that can be had: what is synced is noted, and what is not is dropped, by the test itself.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        for kind in WRITERS:
            sweep = Sweep(kind, Path(folder))
            sweep.all()
            total += sweep.count
    seconds = time.monotonic() - began
    with capsys.disabled():
        told = ", ".join(f"{count} {what}" for what, count in total.most_common())
        print(f"\n{total.total()} faults injected in {seconds:.0f} s, 0 failures: {told}")  # noqa: T201
    assert total.total() >= LEAST
    assert seconds < SECONDS
