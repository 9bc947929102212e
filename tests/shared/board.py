"""TensorBoard's own reader of event files."""

import sys
import types
from pathlib import Path
from typing import Any

# TensorBoard's switch for reading files by itself, without loading TensorFlow for that.
sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("notf"))

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

ALL = dict.fromkeys(("scalars", "histograms", "images", "tensors", "compressedHistograms"), 0)


def read_board(folder: Path) -> Any:
    """What TensorBoard knows of a run after reading its folder, without leaving anything out."""
    board = EventAccumulator(str(folder), size_guidance=ALL)
    board.Reload()
    return board


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The points of a curve, in the reader's order."""
    return [(point.step, point.value) for point in read_board(folder).Scalars(tag)]
