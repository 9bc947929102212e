"""Where everything lies on the volume: names and paths, no I/O beyond listing folders.

`docs/volume.md` is the specification. Identifiers that come from outside pass through `Volume.run` and `Volume.slot`,
which refuse whatever is not a plain name, so no path is ever joined unchecked.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import InputError

RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,79}", re.ASCII)
SLOT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
STEP_NAME = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
WEIGHTS_KIND = re.compile(r"raw|ema-(0\.[0-9]+|[1-9](\.[0-9]+)?e-[0-9]+)", re.ASCII)

MANIFEST = "manifest.json"
SAFETENSORS = ".safetensors"
ANSWERS = ".answers"


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run. Each file has one writer, named in the comment beside it."""

    root: Path

    @property
    def id(self) -> str:
        """The run's id, which is its folder's name."""
        return self.root.name

    @property
    def spec(self) -> Path:
        """gateway, once; the trainer when it is started by hand."""
        return self.root / "spec.json"

    @property
    def desired(self) -> Path:
        """Gateway."""
        return self.root / "desired.json"

    @property
    def tags(self) -> Path:
        """gateway: priority and labels."""
        return self.root / "tags.json"

    @property
    def pins(self) -> Path:
        """gateway: checkpoints that are never removed."""
        return self.root / "pins.json"

    @property
    def aliases(self) -> Path:
        """gateway: which export each alias of the run points at."""
        return self.root / "aliases.json"

    @property
    def origin(self) -> Path:
        """gateway, once: how the run came to be."""
        return self.root / "origin.json"

    @property
    def initial(self) -> Path:
        """gateway, once: the checkpoint of another run that this one, a fork, begins with."""
        return self.root / "initial"

    @property
    def gateway_events(self) -> Path:
        """Gateway."""
        return self.root / "gateway" / "events.jsonl"

    @property
    def trainer(self) -> Path:
        """trainer: the folder of its own files."""
        return self.root / "trainer"

    @property
    def status(self) -> Path:
        """Trainer."""
        return self.trainer / "status.json"

    @property
    def fence(self) -> Path:
        """trainer: the number of the trainer that may commit."""
        return self.trainer / "fence.json"

    @property
    def lock(self) -> Path:
        """trainer: held (flock) for as long as one works on this run."""
        return self.trainer / "lock"

    @property
    def series(self) -> Path:
        """Trainer."""
        return self.trainer / "series.jsonl"

    @property
    def rollbacks(self) -> Path:
        """trainer: where the run went back after diverging, and by which factor its rate has been lower since."""
        return self.trainer / "rollbacks.json"

    @property
    def trainer_events(self) -> Path:
        """Trainer."""
        return self.trainer / "events.jsonl"

    @property
    def trainer_log(self) -> Path:
        """Trainer."""
        return self.trainer / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Trainer."""
        return self.root / "checkpoints"

    @property
    def quarantine(self) -> Path:
        """trainer: checkpoints found corrupt, moved out of the way."""
        return self.root / "quarantine"

    @property
    def leases(self) -> Path:
        """Evaluator."""
        return self.root / "leases"

    @property
    def evaluations(self) -> Path:
        """Evaluator."""
        return self.root / "evaluations"

    @property
    def exports(self) -> Path:
        """Evaluator."""
        return self.root / "exports"

    @property
    def evaluator_events(self) -> Path:
        """Evaluator."""
        return self.root / "evaluator" / "events.jsonl"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint at `step`."""
        return self.checkpoints / str(step)

    def lease(self, step: int) -> Path:
        """The lease on the checkpoint at `step`."""
        return self.leases / f"{step}.json"

    def verdict(self, step: int, kind: str) -> Path:
        """The verdict on the weights of `kind` at `step`."""
        if not WEIGHTS_KIND.fullmatch(kind):
            raise InputError(f"no kind of weights is called {kind!r}", hint="It is raw, or ema-<decay>")
        return self.evaluations / str(step) / f"{kind}.json"

    def answers(self, step: int, kind: str) -> Path:
        """What the weights of `kind` at `step` said to each test example; beside the verdict."""
        return self.verdict(step, kind).with_suffix(ANSWERS)

    def export(self, step: int) -> Path:
        """The folder of the export made of the checkpoint at `step`."""
        return self.exports / str(step)

    def tensorboard(self, writer: str) -> Path:
        """The folder of `writer`'s event files: `train` or `eval`."""
        return self.root / "tensorboard" / writer


@dataclass(frozen=True)
class SlotFolder:
    """The paths of one slot."""

    root: Path

    @property
    def name(self) -> str:
        """The slot's name, which is its folder's name."""
        return self.root.name

    @property
    def record(self) -> Path:
        """trainer, at preflight."""
        return self.root / "slot.json"

    @property
    def assignment(self) -> Path:
        """Gateway."""
        return self.root / "assignment.json"


@dataclass(frozen=True)
class Volume:
    """The root of everything that is shared."""

    root: Path

    @property
    def datasets(self) -> Path:
        """The folder of data sets, one folder each."""
        return self.root / "datasets"

    @property
    def dataset_cache(self) -> Path:
        """What was derived from data sets: decoded arrays, digests. May be deleted while nothing runs."""
        return self.datasets / ".cache"

    @property
    def runs(self) -> Path:
        """The folder of runs, one folder each."""
        return self.root / "runs"

    @property
    def slots(self) -> Path:
        """The folder of slots, one folder each."""
        return self.root / "slots"

    @property
    def gateway(self) -> Path:
        """gateway: its own folder (lock, log)."""
        return self.root / "gateway"

    def evaluator(self, name: str) -> Path:
        """The folder of one evaluator's own files: `status.json`, `log.jsonl`."""
        return self.root / "evaluators" / _checked(name, SLOT_NAME, "an evaluator's name")

    def run(self, run_id: str) -> RunFolder:
        """The folder of a run.

        Raises:
            InputError: `run_id` is not a run's id: lower case letters, digits and hyphens.
        """
        return RunFolder(self.runs / _checked(run_id, RUN_ID, "a run's id"))

    def slot(self, name: str) -> SlotFolder:
        """The folder of a slot.

        Raises:
            InputError: `name` is not a slot's name.
        """
        return SlotFolder(self.slots / _checked(name, SLOT_NAME, "a slot's name"))

    def run_folders(self) -> Iterator[RunFolder]:
        """Every run that has a spec, oldest id first (ids begin with the time of their making)."""
        for name in _names(self.runs, RUN_ID):
            folder = RunFolder(self.runs / name)
            if folder.spec.exists():
                yield folder

    def slot_folders(self) -> Iterator[SlotFolder]:
        """Every slot that has a folder, by name."""
        for name in _names(self.slots, SLOT_NAME):
            yield SlotFolder(self.slots / name)


def listed_steps(folder: Path) -> list[int]:
    """The steps whose folders lie in `folder`, ascending; temporary and foreign names are passed over."""
    return sorted(int(name) for name in _names(folder, STEP_NAME))


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if pattern.fullmatch(entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _checked(name: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(name):
        shown = name if len(name) <= 60 else f"{name[:60]}…"
        raise InputError(f"{shown!r} is not {what}", hint="Lower case letters, digits and hyphens")
    return name
