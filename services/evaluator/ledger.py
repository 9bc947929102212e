"""What is due: each committed checkpoint and kind of weights without a verdict that holds, found from files alone.

A verdict holds for good, but one that says `corrupt` only while the checkpoint's files lie there as they did: it may
have been judged in the middle of being copied, or been made anew by a trainer that went on from an older one.

Nothing of it is stored; after a restart it is found again, for old runs and for runs copied onto the volume as well.
It is made for thousands of finished runs: a run is read again only when one of its folders has changed, which costs
three `stat` calls to see, and of the runs that have long been quiet only a few are asked at each refresh, in turn.
"""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from services.evaluator.policy import Candidate, Policy
from services.evaluator.retries import appearance_of
from shared.checkpoints import read_spec
from shared.errors import NotFoundError, VolumeError
from shared.layout import RUN_ID, RunFolder, Volume, listed_steps
from shared.records import Desired, TrainerStatus, Verdict, parse_record, read_record_or_none
from shared.spec import RunSpec
from shared.steps import total_steps

FINAL_PHASES = ("completed", "stopped", "failed")

# A folder's time may not move between two changes in quick succession, so after a change it is read until some time
# has passed, and once more then.
_SETTLING_SECONDS = 2.0

Marks = tuple[int, ...]


@dataclass
class _Run:
    folder: RunFolder
    spec: RunSpec | None = None
    marks: Marks | None = None
    changed: float = float("-inf")
    looked_at: float = float("-inf")
    settled: bool = False
    silent: bool = False
    newest: int | None = None
    judged: int | None = None
    waiting: tuple[Candidate, ...] = ()
    final_verdicts: set[tuple[int, str]] = field(default_factory=set)
    condemned: bool = False


@dataclass(frozen=True)
class Lag:
    """How many steps judging is behind one run's training, and since when, in seconds since the epoch.

    0 and None once the newest checkpoint that is wanted has been judged, however many older ones still wait.
    """

    run: str
    steps: int
    since: float | None


class Ledger:
    """What is due on a volume. Not thread-safe.

    Args:
        volume: The volume; only read.
        policy: What is wanted, and in which order.
        clock: Monotonic seconds.
        on_problem: Called with the run and the error when a run's spec cannot be used, once for each error.
        quiet_after: Seconds without a change after which a run is asked in turn only.
        turn: How many of the quiet runs are asked at each refresh.
        always: How many of the newest runs are asked each time.
        only: The one run to look at. Without it, runs that alternate are left to the evaluators of their own turns.
        silence: Seconds in which nothing of a run changes, not even its trainer's heartbeat, after which nobody waits
            for a further checkpoint: its trainer is dead, or paused.
    """

    def __init__(
        self,
        *,
        volume: Volume,
        policy: Policy,
        clock: Callable[[], float],
        on_problem: Callable[[RunFolder, VolumeError], None],
        quiet_after: float = 600.0,
        turn: int = 250,
        always: int = 20,
        only: str | None = None,
        silence: float = 60.0,
    ) -> None:
        self._volume = volume
        self._policy = policy
        self._clock = clock
        self._on_problem = on_problem
        self._quiet_after = quiet_after
        self._turn = turn
        self._always = always
        self._only = only
        self._silence = silence
        self._runs: dict[str, _Run] = {}
        self._names: list[str] = []
        self._names_mark = -1
        self._names_changed = float("-inf")
        self._names_settled = False
        self._next = 0
        self._problems: dict[str, str] = {}

    def refresh(self, touched: Iterable[str] = ()) -> None:
        """Looks for what has changed.

        Args:
            touched: Runs known to have changed; they are read at once. Unknown names are passed over.
        """
        now = self._clock()
        new = self._refresh_names(now)
        busy = [run.folder.id for run in self._runs.values() if now - run.changed < self._quiet_after]
        ask = dict.fromkeys(itertools.chain(touched, new, busy, self._names[-self._always :], self._in_turn()))
        for name in ask:
            if (run := self._runs.get(name)) is not None:
                self._refresh_run(run, now)

    def due(self) -> list[Candidate]:
        """What is due as of the last refresh, first to be judged first."""
        return self._policy.ordered([item for run in self._runs.values() for item in run.waiting])

    def missing(self, run: str, step: int) -> tuple[str, ...]:
        """The kinds without a verdict that holds at this very moment; none if the checkpoint or its run is gone."""
        known = self._runs.get(run)
        if known is None or known.spec is None or not known.folder.checkpoint(step).exists():
            return ()
        return _missing(known, step, known.spec)

    def nothing_due(self, run: str) -> bool:
        """Whether nothing of a run is due at this very moment; also no if it is left to others, or cannot be read."""
        known = self._runs.get(run)
        if known is None:
            return False
        self._refresh_run(known, self._clock())
        return known.spec is not None and not known.waiting and not self._left_to_others(known.spec, run)

    def settle(self, run: str, step: int) -> None:
        """Takes a checkpoint off what is due; called when its verdicts are written or it is gone."""
        if (known := self._runs.get(run)) is None:
            return
        known.waiting = tuple(item for item in known.waiting if item.step != step)
        known.changed = known.looked_at = self._clock()
        known.settled = False

    def folder(self, run: str) -> RunFolder:
        """The folder of a run that is due."""
        return self._runs[run].folder

    def folders(self) -> list[RunFolder]:
        """Every run's folder, newest first."""
        return [self._runs[name].folder for name in reversed(self._names)]

    @property
    def backlog(self) -> int:
        """How many checkpoints wait."""
        return sum(len(run.waiting) for run in self._runs.values())

    def lags(self) -> list[Lag]:
        """The lag of each run that has changed of late or that waits, newest run first."""
        now = self._clock()
        lags = []
        for name in reversed(self._names):
            run = self._runs[name]
            if run.newest is None or (not run.waiting and now - run.changed >= self._quiet_after):
                continue
            ahead = run.waiting[-1].step - (run.judged or 0) if run.waiting else 0
            since = _time(run.folder.checkpoint(run.waiting[-1].step)) if ahead > 0 else None
            lags.append(Lag(run=name, steps=max(0, ahead), since=since))
        return lags

    def _refresh_names(self, now: float) -> list[str]:
        mark = _mark(self._volume.runs)
        if mark != self._names_mark:
            self._names_mark, self._names_changed, self._names_settled = mark, now, False
        elif self._names_settled:
            return []
        else:
            self._names_settled = now - self._names_changed >= _SETTLING_SECONDS
        try:
            found = sorted(path.name for path in self._volume.runs.iterdir() if RUN_ID.fullmatch(path.name))
            self._names = found if self._only is None else [name for name in found if name == self._only]
        except (FileNotFoundError, NotADirectoryError):
            self._names = []
        new = [name for name in self._names if name not in self._runs]
        for name in self._runs.keys() - set(self._names):
            del self._runs[name]
        for name in new:
            self._runs[name] = _Run(self._volume.run(name))
        return new

    def _in_turn(self) -> list[str]:
        if not self._names:
            return []
        start = self._next % len(self._names)
        chosen = self._names[start : start + self._turn]
        self._next = start + len(chosen)
        return chosen

    def _refresh_run(self, run: _Run, now: float) -> None:
        folder = run.folder
        marks = [_mark(folder.checkpoints), _mark(folder.evaluations), _mark(folder.spec)]
        if self._policy.asks_whether_finished:
            marks += [_mark(folder.status), _mark(folder.desired)]
        if tuple(marks) != run.marks:
            # What is found at the first look may be years old, and does not make a run busy.
            run.changed = now if run.marks is not None else run.changed
            run.marks, run.looked_at, run.settled, run.silent = tuple(marks), now, False, False
        else:
            silent = self._policy.asks_whether_finished and now - run.looked_at >= self._silence
            if run.settled and run.silent == silent and not run.condemned:
                return
            run.settled, run.silent = now - run.looked_at >= _SETTLING_SECONDS, silent
        if run.spec is None and not self._read_spec(run):
            run.waiting = ()
            return
        self._read(run)

    def _read_spec(self, run: _Run) -> bool:
        try:
            run.spec = read_spec(run.folder)
        except NotFoundError:
            return False  # it is being made, or is none
        except VolumeError as error:
            if self._problems.get(run.folder.id) != str(error):
                self._problems[run.folder.id] = str(error)
                self._on_problem(run.folder, error)
            return False
        return True

    def _left_to_others(self, spec: RunSpec, run: str) -> bool:
        return spec.alternates and run != self._only

    def _read(self, run: _Run) -> None:
        spec, folder = run.spec, run.folder
        if spec is None or self._left_to_others(spec, folder.id):
            return
        steps = listed_steps(folder.checkpoints)
        run.newest = steps[-1] if steps else None
        finished = self._policy.asks_whether_finished and (run.silent or _finished(folder, spec, run.newest))
        run.final_verdicts.intersection_update(itertools.product(steps, spec.weights_kinds))
        run.condemned = False
        waiting = []
        for step in self._policy.wanted(steps, finished=finished):
            if kinds := _missing(run, step, spec):
                waiting.append(Candidate(run=folder.id, step=step, kinds=kinds, newest=step == run.newest))
        run.waiting = tuple(waiting)
        run.judged = max(listed_steps(folder.evaluations), default=None)


def _missing(run: _Run, step: int, spec: RunSpec) -> tuple[str, ...]:
    return tuple(kind for kind in spec.weights_kinds if not _holds(run, step, kind))


def _holds(run: _Run, step: int, kind: str) -> bool:
    """Whether there is a verdict that holds. Those that say `corrupt` are read each time, all others once."""
    path = run.folder.verdict(step, kind)
    if (step, kind) in run.final_verdicts and path.exists():
        return True
    run.final_verdicts.discard((step, kind))
    try:
        data = path.read_bytes()
        verdict = parse_record(data, Verdict, source=path) if b'"corrupt"' in data else None
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, VolumeError):
        return True  # there is one, whatever it says
    if verdict is None or verdict.status != "corrupt" or not verdict.appearance:
        run.final_verdicts.add((step, kind))
        return True
    run.condemned = True
    return verdict.appearance == appearance_of(run.folder.checkpoint(step))


def _finished(folder: RunFolder, spec: RunSpec, newest: int | None) -> bool:
    try:
        steps = total_steps(spec, read_record_or_none(folder.desired, Desired))
        status = read_record_or_none(folder.status, TrainerStatus)
    except VolumeError:
        return False
    if newest is None or newest >= steps:
        return True
    return status is not None and status.phase in FINAL_PHASES and status.checkpoint_step in {None, newest}


def _mark(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _time(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
