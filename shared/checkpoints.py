"""Checkpoints: committed, immutable folders of weights at a step.

`checkpoints/<step>/` holds `manifest.json`, a `<kind>.safetensors` for each kind of weights (`raw`, `ema-<decay>`) and
`optimizer.safetensors`. Whether a checkpoint is good is decided by the digests in its manifest, by whoever loads it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from shared import atomic
from shared.errors import CorruptCheckpointError, CorruptRecordError, NoGoodCheckpointError, NotFoundError, VolumeError
from shared.layout import MANIFEST, SAFETENSORS, WEIGHTS_KIND, RunFolder, listed_steps
from shared.records import (
    CheckpointManifest,
    FileRecord,
    Origin,
    Pins,
    Rollback,
    encode_record,
    parse_record,
    read_record,
    read_record_or_none,
)
from shared.spec import CosineRate, OneCycleRate, RunSpec

Arrays = Mapping[str, npt.NDArray[np.generic]]

OPTIMIZER = "optimizer"
_NOT_NUMBERS = {
    *("name", "labels", "steps", "cadence", "evaluation", "retention", "sharing"),
    *("until", "on_divergence", "max_restarts", "promotion"),  # where a run did go back, its manifest says so
    "devices",  # rounding alone, and the manifest's numerics say which
}


@dataclass(frozen=True)
class Checkpoint:
    """One committed checkpoint: its folder and its manifest, which has been read and checked against its schema."""

    folder: Path
    manifest: CheckpointManifest
    manifest_sha256: str

    @property
    def step(self) -> int:
        """The number of steps that had been made."""
        return self.manifest.step

    def load(self, kind: str) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays of one kind (`raw`, `ema-<decay>`, `optimizer`), by name, checked against the manifest's digest.

        Raises:
            NotFoundError: The checkpoint has no such kind, or was pruned meanwhile.
            CorruptCheckpointError: The file is missing or is not what the manifest says.
        """
        name = kind + SAFETENSORS
        expected = self.manifest.files.get(name)
        if expected is None:
            raise NotFoundError(
                f"has no weights of kind {kind!r}, only {', '.join(self.manifest.weights)}", where=str(self.folder)
            )
        data = self._read(name)
        if len(data) != expected.size:
            raise CorruptCheckpointError(
                f"is {len(data)} bytes long instead of {expected.size}", where=str(self.folder / name)
            )
        if hashlib.sha256(data).hexdigest() != expected.sha256:
            raise CorruptCheckpointError("does not match its digest", where=str(self.folder / name))
        try:
            return safetensors.numpy.load(data)
        except (safetensors.SafetensorError, ValueError, KeyError) as error:
            raise CorruptCheckpointError(f"is not safetensors: {error}", where=str(self.folder / name)) from error

    def verify(self) -> None:
        """Checks every file. Raises like `load`."""
        for name in self.manifest.files:
            self.load(name.removesuffix(SAFETENSORS))

    def _read(self, name: str) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            if not (self.folder / MANIFEST).exists():
                raise NotFoundError("was pruned while it was read", where=str(self.folder)) from error
            raise CorruptCheckpointError("is missing", where=str(path)) from error


class CheckpointStore:
    """The checkpoints of one run. Anyone may read; only who holds the lock of the run's trainer changes anything."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def steps(self) -> list[int]:
        """The steps at which a checkpoint is committed, ascending. Nothing of their content is checked."""
        return listed_steps(self._folder.checkpoints)

    def open(self, step: int) -> Checkpoint:
        """The checkpoint at `step`; its weights are not read yet.

        Raises:
            NotFoundError: There is none (any more).
            CorruptCheckpointError: Its manifest is missing or damaged, or speaks of another step or run.
            UnknownSchemaError: It was written by another release.
        """
        folder = self._folder.checkpoint(step)
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
            manifest = parse_record(data, CheckpointManifest, source=path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if folder.exists():
                raise CorruptCheckpointError("has no manifest", where=str(folder)) from error
            raise NotFoundError(f"run {self._folder.id} has no checkpoint at step {step}", where=str(folder)) from error
        except CorruptRecordError as error:
            raise CorruptCheckpointError(error.message, where=error.where) from error
        if manifest.step != step or manifest.run != self._folder.id:
            raise CorruptCheckpointError(
                f"speaks of step {manifest.step} of run {manifest.run}",
                where=str(path),
                hint="It was copied or renamed",
            )
        _require_weights(manifest, path)
        return Checkpoint(folder=folder, manifest=manifest, manifest_sha256=hashlib.sha256(data).hexdigest())

    def newest_good(self, *, on_corrupt: Callable[[int, VolumeError], None]) -> Checkpoint | None:
        """The newest checkpoint whose every file matches its digest, or None if there has never been one.

        Args:
            on_corrupt: Called with the step and the error for each damaged one that is passed over.

        Raises:
            NoGoodCheckpointError: There are checkpoints and none is good. Starting anew would lose the run silently.
            UnknownSchemaError: The newest was written by a release that this one does not understand.
        """
        damaged = []
        for step in reversed(self.steps()):
            try:
                checkpoint = self.open(step)
                checkpoint.verify()
            except CorruptCheckpointError as error:
                on_corrupt(step, error)
                damaged.append(step)
            except NotFoundError:
                continue
            else:
                return checkpoint
        if damaged or listed_steps(self._folder.quarantine):
            raise NoGoodCheckpointError(
                "every checkpoint of this run is damaged",
                where=str(self._folder.checkpoints),
                hint="Restore one from a backup, or start a new run",
            )
        return None

    def commit(
        self,
        *,
        step: int,
        fence: int,
        spec_sha256: str,
        groups: Mapping[str, Arrays],
        time: float,
        spec: Mapping[str, Any] | None = None,
        dataset_fingerprint: str = "",
        loss: float | None = None,
        numerics: Mapping[str, str] | None = None,
        rollbacks: tuple[Rollback, ...] = (),
        before_rename: Callable[[], None] = lambda: None,
    ) -> Checkpoint:
        """Commits a checkpoint, durably.

        Args:
            step: The number of steps made.
            fence: The committing trainer's fencing number.
            spec_sha256: `spec_digest` of the run's spec.
            groups: Arrays by kind, then by name: `raw`, each `ema-<decay>`, `optimizer`.
            time: Now, in seconds since the epoch.
            spec: The run's whole spec as plain values, for whoever resumes it by another one.
            dataset_fingerprint: Of the data set it was trained on.
            loss: The newest loss, for people.
            numerics: What decides the last bits of results: device, versions, kernels.
            rollbacks: Every time the run went back before it came here.
            before_rename: Called when all is written and synced; what it raises stops the commit (fencing).

        Raises:
            FileExistsError: There is a checkpoint at this step already.
            OSError: It could not be written; nothing is left of it.
        """
        final = self._folder.checkpoint(step)
        with atomic.committing(final) as folder:
            files = {}
            for kind, arrays in groups.items():
                digest = folder.write(kind + SAFETENSORS, encode_arrays(arrays))
                files[kind + SAFETENSORS] = FileRecord(size=digest.size, sha256=digest.sha256)
            manifest = CheckpointManifest(
                run=self._folder.id,
                step=step,
                fence=fence,
                weights=tuple(kind for kind in groups if kind != OPTIMIZER),
                files=files,
                spec_sha256=spec_sha256,
                spec=dict(spec or {}),
                dataset_fingerprint=dataset_fingerprint,
                loss=loss,
                numerics=dict(numerics or {}),
                rollbacks=rollbacks,
                time=time,
            )
            data = encode_record(manifest)
            folder.write(MANIFEST, data)
            before_rename()
        return Checkpoint(folder=final, manifest=manifest, manifest_sha256=hashlib.sha256(data).hexdigest())

    def quarantine(self, step: int) -> Path:
        """Moves a damaged checkpoint out of the way, for people to look at. Returns where it is now."""
        target = self._folder.quarantine / str(step)
        number = 1
        while target.exists():
            target = self._folder.quarantine / f"{step}.{number}"
            number += 1
        atomic.move_folder(self._folder.checkpoint(step), target)
        return target

    def remove(self, step: int) -> None:
        """Removes a checkpoint, in two phases; a reader in the middle of it gets NotFoundError."""
        atomic.remove_folder(self._folder.checkpoint(step))

    def sweep(self) -> list[Path]:
        """Removes what a killed trainer left half-written."""
        return atomic.sweep(self._folder.checkpoints)


def _require_weights(manifest: CheckpointManifest, path: Path) -> None:
    """Makes sure that a manifest names a file for each kind of weights, and no other files: they are read by name."""
    kinds = {name.removesuffix(SAFETENSORS) for name in manifest.files if name.endswith(SAFETENSORS)}
    strange = [name for name in manifest.files if name.removesuffix(SAFETENSORS) not in kinds]
    strange += [kind for kind in kinds if kind != OPTIMIZER and not WEIGHTS_KIND.fullmatch(kind)]
    if strange or not set(manifest.weights) <= kinds:
        raise CorruptCheckpointError(
            f"names other files than those of its weights: {', '.join(strange or manifest.weights)}", where=str(path)
        )


def pinned_steps(folder: RunFolder) -> frozenset[int]:
    """The steps whose checkpoints are never removed.

    Raises:
        CorruptRecordError, UnknownSchemaError: `pins.json` cannot be used; then nothing may be removed.
    """
    pins = read_record_or_none(folder.pins, Pins)
    return frozenset() if pins is None else frozenset(pins.steps)


def initial_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The checkpoint of another run that this one begins with; None for a run that begins with new weights.

    Raises:
        CorruptCheckpointError: It is not the one that `origin.json` names.
        CorruptRecordError, UnknownSchemaError: A record cannot be used.
    """
    origin = read_record_or_none(folder.origin, Origin)
    if origin is None or origin.parent is None:
        return None
    path = folder.initial / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorruptCheckpointError("cannot be read", where=str(path)) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != origin.parent.manifest_sha256:
        raise CorruptCheckpointError("is not the manifest that origin.json names", where=str(path))
    manifest = parse_record(data, CheckpointManifest, source=path)
    _require_weights(manifest, path)
    return Checkpoint(folder=folder.initial, manifest=manifest, manifest_sha256=digest)


def encode_arrays(arrays: Arrays) -> bytes:
    """Arrays as safetensors, in an order of their own: equal arrays give equal bytes."""
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())})


def training_values(spec: RunSpec) -> dict[str, Any]:
    """The part of a spec that decides which numbers are computed, as plain values.

    Without what changes no weight: names, cadence, retention, evaluation, where the data set lies (its fingerprint
    says what it is), and how many steps are made, except under a learning rate whose course depends on that.
    """
    values = spec.model_dump(mode="json", exclude=_NOT_NUMBERS)
    del values["dataset"]["path"]
    if isinstance(spec.learning_rate, CosineRate | OneCycleRate):
        values["steps"] = spec.steps
    return values


def spec_digest(spec: RunSpec) -> str:
    """SHA-256 of `training_values` as canonical JSON, in hexadecimal: equal for specs that compute equal numbers."""
    text = json.dumps(training_values(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_spec(folder: RunFolder) -> RunSpec:
    """The spec of a run that is on the volume.

    Raises:
        NotFoundError: There is no such run.
        CorruptRecordError, UnknownSchemaError: Its spec cannot be used.
    """
    try:
        return read_record(folder.spec, RunSpec)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"there is no run {folder.id}", where=str(folder.root)) from error
