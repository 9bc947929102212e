"""One run as it stands on the volume."""

from dataclasses import dataclass
from datetime import UTC, datetime

from shared.layout import RunFolder
from shared.records import Desired, Origin, SeriesPoint, Tags, TrainerStatus, Verdict
from shared.spec import RunSpec
from shared.steps import total_steps

NO_TAGS = Tags()


@dataclass(frozen=True)
class Run:
    """One run as it stands on the volume. `verdicts` lack their long parts; by step, then kind."""

    folder: RunFolder
    spec: RunSpec
    created: float
    desired: Desired | None = None
    tags: Tags = NO_TAGS
    origin: Origin | None = None
    status: TrainerStatus | None = None
    last_point: SeriesPoint | None = None
    checkpoint_step: int | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def id(self) -> str:
        """The run's id."""
        return self.folder.id

    @property
    def steps(self) -> int:
        """How many steps it is to make, extensions included."""
        return total_steps(self.spec, self.desired)

    @property
    def generation(self) -> int:
        """Of what is desired of it; 0 for a run that was started by hand."""
        return 0 if self.desired is None else self.desired.generation

    @property
    def labels(self) -> dict[str, str]:
        """The spec's labels, with those laid over them that were given later."""
        laid = {**self.spec.labels, **self.tags.labels}
        return {key: value for key, value in laid.items() if value is not None}


def created(folder: RunFolder) -> float:
    """When a run was made, in seconds since the epoch: from its id, or else from its spec's file."""
    try:
        return datetime.strptime(folder.id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return folder.spec.stat().st_mtime
