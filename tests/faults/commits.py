"""The small checkpoint that fault tests commit, and what a reader must see of it."""

import numpy as np

from shared.checkpoints import CheckpointStore

RUN = "20260101-000000-run-0000"


def groups_at(step: int) -> dict[str, dict[str, np.ndarray]]:
    """Arrays whose every value tells the step they belong to."""
    return {
        kind: {"kernel": np.full((3, 2), step + offset, np.float32), "bias": np.full(2, step, np.float32)}
        for offset, kind in enumerate(("raw", "ema-0.9999", "optimizer"))
    }


def commit_step(store: CheckpointStore, step: int) -> None:
    store.commit(step=step, fence=1, spec_sha256="0" * 64, groups=groups_at(step), time=0.0)


def listed_and_whole(store: CheckpointStore) -> list[int]:
    """Every listed step, after checking that each is complete and says what was committed."""
    steps = store.steps()
    for step in steps:
        checkpoint = store.open(step)
        for kind, arrays in groups_at(step).items():
            loaded = checkpoint.load(kind)
            assert loaded.keys() == arrays.keys()
            assert all(np.array_equal(loaded[name], arrays[name]) for name in arrays)
    return steps
