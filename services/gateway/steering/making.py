"""Makes runs: a folder with everything in it gets its name in one step, so a run exists whole or not at all."""

import hashlib
import json
import secrets
import time as wall
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.gateway.index import Run
from shared import atomic
from shared.checkpoints import Checkpoint, CheckpointStore
from shared.errors import ConflictError, NotFoundError, SpecError
from shared.layout import MANIFEST, Volume
from shared.records import Desired, Origin, Parent, Tags, encode_record
from shared.spec import RunSpec


@dataclass(frozen=True)
class Key:
    """What makes a request that is sent twice make one run.

    Attributes:
        text: What the sender chose, in `Idempotency-Key`.
        body_sha256: The digest of what was asked for.
    """

    text: str
    body_sha256: str

    @classmethod
    def of(cls, text: str | None, *asked: Any) -> "Key | None":
        """The key of a request for what `asked`, plain values, says; None where the sender chose none."""
        if text is None:
            return None
        data = json.dumps(asked, sort_keys=True, separators=(",", ":"))
        return cls(text=text, body_sha256=hashlib.sha256(data.encode()).hexdigest())


@dataclass(frozen=True)
class Plan:
    """What is to be made: a specification, its place in the queue, where it came from."""

    spec: RunSpec
    priority: int = 0
    recipe: str | None = None
    checkpoint: Checkpoint | None = None
    key: Key | None = None


class RunMaker:
    """Makes the folders of runs.

    Args:
        volume: Where they go.
        clock: Seconds since the epoch.
    """

    def __init__(self, *, volume: Volume, clock: Callable[[], float]) -> None:
        self._volume = volume
        self._clock = clock

    def make(self, plan: Plan) -> str:
        """Makes a run. Returns its id.

        Raises:
            NotFoundError: The checkpoint that it is to begin with was removed meanwhile.
            OSError: It could not be written; nothing is left of it.
        """
        run_id = self._fresh_id(plan.spec)
        now = self._clock()
        with atomic.committing(self._volume.run(run_id).root) as folder:
            folder.write("spec.json", encode_record(plan.spec))
            folder.write("desired.json", encode_record(Desired(generation=0, state="running", time=now)))
            folder.write("origin.json", encode_record(_origin(plan, now)))
            if plan.priority:
                folder.write("tags.json", encode_record(Tags(priority=plan.priority)))
            if plan.checkpoint is not None:
                _adopt(folder, plan.checkpoint)
        return run_id

    def _fresh_id(self, spec: RunSpec) -> str:
        moment = wall.strftime("%Y%m%d-%H%M%S", wall.gmtime(self._clock()))
        while True:
            run_id = f"{moment}-{spec.name}-{secrets.token_hex(2)}"
            if not self._volume.run(run_id).root.exists():
                return run_id


def made_before(runs: list[Run], key: Key) -> Run | None:
    """The run that a request with this key has made already, if there is one among those that have the key.

    Raises:
        ConflictError: The key was used to ask for something else.
    """
    found = next(iter(runs), None)
    if found is None or found.origin is None:
        return None
    if found.origin.body_sha256 != key.body_sha256:
        raise ConflictError(
            f"the key was used before, to ask for something else: it made run {found.id}",
            where="Idempotency-Key",
            hint="Choose a new key for a new run",
        )
    return found


def forked(parent: Run, *, step: int | None, below: dict[str, Any], parse: Callable[[dict[str, Any]], RunSpec]) -> Plan:
    """What a fork is made of.

    Args:
        parent: The run whose checkpoint it begins with.
        step: Of that checkpoint; None: the newest.
        below: What its specification is made of, by keys.
        parse: Makes a specification of it.

    Raises:
        NotFoundError: There is no such checkpoint.
        CorruptCheckpointError: Its manifest cannot be used.
        SpecError: The specification is wrong, or cannot begin with these weights.
    """
    spec = parse(below)
    if step is None:
        step = parent.checkpoint_step
    if step is None:
        raise NotFoundError(f"run {parent.id} has no checkpoint to begin with", where="step")
    if spec.model != parent.spec.model:
        raise SpecError(
            f"its weights are those of another network ({parent.spec.model.name}, with its options)",
            where="spec.model",
            hint="Fork with the network as it is, or start a run of the other one",
        )
    if spec.steps <= step:
        raise SpecError(
            f"it begins at step {step}, and is to make only {spec.steps}",
            where="spec.steps",
            hint=f"Set steps to more than {step}: those before the fork count",
        )
    return Plan(spec=spec, checkpoint=CheckpointStore(parent.folder).open(step))


def _origin(plan: Plan, now: float) -> Origin:
    parent = None
    if plan.checkpoint is not None:
        manifest = plan.checkpoint.manifest
        parent = Parent(run=manifest.run, step=manifest.step, manifest_sha256=plan.checkpoint.manifest_sha256)
    key = plan.key
    return Origin(
        recipe=plan.recipe,
        parent=parent,
        key=None if key is None else key.text,
        body_sha256=None if key is None else key.body_sha256,
        time=now,
    )


def _adopt(folder: atomic.FolderCommit, checkpoint: Checkpoint) -> None:
    """Takes a checkpoint's files over, so that the fork does not depend on how long its parent keeps them."""
    try:
        for name in (MANIFEST, *checkpoint.manifest.files):
            folder.adopt(f"initial/{name}", checkpoint.folder / name)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"the checkpoint at step {checkpoint.step} was removed in this moment", where="step", hint="Try a newer one"
        ) from error
