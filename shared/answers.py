"""What one kind of weights said to each test example: `evaluations/<step>/<kind>.answers`, beside the verdict.

A safetensors file: `predicted`, uint8 [n] (uint16 where there are more than 256 classes), the most probable class of
each example in the order of the test set; `correct`, uint8 [ceil(n / 8)], a bit an example, the first in the highest
bit, set where the prediction is the label; and as metadata `schema_version`, `run`, `step`, `kind`, `examples` and
`dataset_fingerprint`. 11 kB for 10,000 examples. The verdict holds the file's size and digest.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from shared.errors import CorruptRecordError, NotFoundError, UnknownSchemaError
from shared.layout import RunFolder
from shared.records import FileRecord, Verdict

ANSWERS_VERSION = "1"

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """Answers to the whole test set, in its order.

    Attributes:
        predicted: uint8 or uint16 [n], the most probable class.
        correct: bool [n], whether that is the label.
        dataset_fingerprint: Of the data set that the test set belongs to.
    """

    predicted: npt.NDArray[np.unsignedinteger]
    correct: npt.NDArray[np.bool_]
    dataset_fingerprint: str

    def comparable(self, other: "Answers") -> bool:
        """Whether both are answers to the same examples."""
        return self.dataset_fingerprint == other.dataset_fingerprint and len(self.correct) == len(other.correct)

    def discordant(self, other: "Answers") -> tuple[Indices, Indices]:
        """The examples that only `self` gets right, and those that only `other` does; both must be comparable."""
        return np.flatnonzero(self.correct & ~other.correct), np.flatnonzero(other.correct & ~self.correct)


def compact(predicted: npt.NDArray[np.integer], *, classes: int) -> npt.NDArray[np.unsignedinteger]:
    """Classes as the smallest type that holds them all: uint8, or uint16."""
    return predicted.astype(np.uint8 if classes <= 2**8 else np.uint16)


def encode_answers(answers: Answers, *, run: str, step: int, kind: str) -> bytes:
    """The bytes of the file. Equal answers give equal bytes."""
    return safetensors.numpy.save(
        {"correct": np.packbits(answers.correct), "predicted": np.ascontiguousarray(answers.predicted)},
        metadata={
            "schema_version": ANSWERS_VERSION,
            "run": run,
            "step": str(step),
            "kind": kind,
            "examples": str(len(answers.correct)),
            "dataset_fingerprint": answers.dataset_fingerprint,
        },
    )


def parse_answers(data: bytes, *, source: Path) -> Answers:
    """The answers in a file's bytes.

    Raises:
        UnknownSchemaError: It was written by another release.
        CorruptRecordError: It is not what it should be.
    """
    try:
        arrays = safetensors.numpy.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        if metadata["schema_version"] != ANSWERS_VERSION:
            raise UnknownSchemaError(
                f"has schema version {metadata['schema_version']!r}; this release knows {ANSWERS_VERSION}",
                where=str(source),
            )
        examples, predicted, bits = int(metadata["examples"]), arrays["predicted"], arrays["correct"]
        if predicted.shape != (examples,) or bits.shape != ((examples + 7) // 8,):
            raise ValueError(f"{predicted.shape} predictions and {bits.shape} bytes of bits for {examples} examples")
        correct = np.unpackbits(bits, count=examples).astype(bool)
        return Answers(predicted, correct, metadata["dataset_fingerprint"])
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CorruptRecordError(f"is no file of answers: {error}", where=str(source)) from error


def file_record(data: bytes) -> FileRecord:
    """Size and digest of a file of answers, for the verdict."""
    return FileRecord(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def read_answers(folder: RunFolder, kind: str, verdict: Verdict) -> Answers:
    """The answers that a verdict is about.

    Args:
        folder: The run.
        kind: The kind of weights that the verdict is on.
        verdict: The verdict.

    Raises:
        NotFoundError: They were never kept, or retention has removed them.
        CorruptRecordError: They are damaged, or not those that the verdict names.
        UnknownSchemaError: They were written by another release.
    """
    path = folder.answers(verdict.step, kind)
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(folder, kind, verdict) from error
    except OSError as error:
        raise CorruptRecordError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if verdict.answers is None:
        raise _missing(folder, kind, verdict)
    if file_record(data) != verdict.answers:
        raise CorruptRecordError("does not match the digest in the verdict", where=str(path))
    return parse_answers(data, source=path)


def _missing(folder: RunFolder, kind: str, verdict: Verdict) -> NotFoundError:
    return NotFoundError(
        f"the answers of the weights {kind} of step {verdict.step} to each example are not on the volume",
        where=f"run {folder.id}",
        hint="They are kept of the best, of checkpoints that are kept, and of the newest (TANDEM_EVALUATOR_ANSWERS)",
    )
