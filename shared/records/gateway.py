"""What the gateway writes: what is wanted of a run, how it came to be, which slot has it, what its aliases point at."""

from typing import Literal

from pydantic import Field

from shared.records.record import Record, Value


class Desired(Record):
    """What the gateway wants of a run. `generation` grows with each change; the trainer answers with the one it saw.

    `kill` (of a run that is to be stopped) means without a last checkpoint. `steps` is how many steps the run is to
    make once that was extended; `shared.steps` says how it goes together with the spec. Rules that end a run look at
    verdicts of steps after `rules_from`, and at time at work after `seconds_from`, so a run that a rule has stopped can
    be restarted.
    """

    generation: int = Field(ge=0)
    state: Literal["running", "paused", "stopped"]
    pause: Literal["hold", "release"] = "release"
    kill: bool = False
    steps: int | None = Field(default=None, ge=1)
    rules_from: int = Field(default=0, ge=0)
    seconds_from: float = Field(default=0.0, ge=0.0)
    reason: str = ""
    time: float


class Tags(Record):
    """`tags.json`: what may be changed about a run without touching what it computes.

    Of queued runs those of greater `priority` go first. `labels` are laid over the spec's; null takes one away.
    """

    priority: int = 0
    labels: dict[str, str | None] = Field(default_factory=dict)


class Pins(Record):
    """`pins.json`: the steps whose checkpoints stay, whatever the spec says about retention."""

    steps: tuple[int, ...] = ()


class Parent(Value):
    """The checkpoint that a forked run begins with: its run, its step, and the digest of its manifest."""

    run: str
    step: int = Field(ge=0)
    manifest_sha256: str


class Origin(Record):
    """`origin.json`: how a run came to be. `key` and `body_sha256` are those of the request, where it had a key."""

    recipe: str | None = None
    parent: Parent | None = None
    key: str | None = None
    body_sha256: str | None = None
    time: float


class Assignment(Record):
    """Which run a slot is to train, and under which fencing number; or to evaluate, in a run that alternates."""

    run: str
    fence: int = Field(ge=1)
    time: float
    task: Literal["train", "evaluate"] = "train"


class Canary(Value):
    """The export of `step` answers `share` of the requests for an alias."""

    step: int = Field(ge=0)
    share: float = Field(gt=0.0, lt=1.0)


class Move(Value):
    """An alias came to point at the export of `step`."""

    step: int = Field(ge=0)
    precision_at_1: float
    reason: str
    time: float


class Alias(Value):
    """A name for one export of a run: that of the last move. `pinned`: it moves by hand alone."""

    moves: tuple[Move, ...] = Field(min_length=1)
    pinned: bool = False
    canary: Canary | None = None

    @property
    def now(self) -> Move:
        """The move that made it what it is."""
        return self.moves[-1]

    @property
    def step(self) -> int:
        """Of the export that it points at."""
        return self.moves[-1].step

    @property
    def before(self) -> int | None:
        """The step that it pointed at before, which a roll back goes to; None if it has been nowhere else."""
        return next((move.step for move in reversed(self.moves) if move.step != self.step), None)

    @property
    def needed(self) -> frozenset[int]:
        """The steps of the exports that must stay for it: where it points, what it tries, and where it was before."""
        tried = None if self.canary is None else self.canary.step
        return frozenset(step for step in (self.step, tried, self.before) if step is not None)


class Aliases(Record):
    """`aliases.json`: what the aliases of a run point at."""

    aliases: dict[str, Alias] = Field(default_factory=dict)

    @property
    def steps(self) -> frozenset[int]:
        """Of the exports that must stay."""
        return frozenset(step for alias in self.aliases.values() for step in alias.needed)
