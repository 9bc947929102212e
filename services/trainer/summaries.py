"""What TensorBoard shows of the training: `tensorboard/train/events.out.tfevents.*`.

Summaries that cannot be written (a full disk) never stop the training: they are lost, counted, and logged once until
they can be written again.
"""

import io
import logging
from collections.abc import Callable, Iterator

from PIL import Image

from services.trainer.engine import Batch, Engine, Summary
from shared.data.examples import Images
from shared.eventfiles import EventFile
from shared.summaries import Picture, Value, encode_values

log = logging.getLogger(__name__)


class Summaries:
    """Writes one summary after another.

    Args:
        engine: Is watched.
        batch: Makes the batch of a step.
        events: Where they go.
        on_loss: Called for each summary that was lost.
        time: Seconds since the epoch.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        batch: Callable[[int], Batch],
        events: EventFile,
        on_loss: Callable[[], None],
        time: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._batch = batch
        self._events = events
        self._on_loss = on_loss
        self._time = time
        self._failing = False

    def write(self, step: int, now: float) -> None:
        """Writes what there is to see after `step` steps; waits for the device."""
        values = dict(tagged(self._engine.summarize(self._batch(step))))
        try:
            self._events.append(encode_values(values, step=step, time=self._time()))
        except OSError as error:
            self._on_loss()
            if not self._failing:
                log.warning("Summaries for TensorBoard are being lost: %s", error)
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Closes the file."""
        self._events.close()


def tagged(summary: Summary) -> Iterator[tuple[str, Value]]:
    """The values of a summary, each with its tag; `docs/tensorboard.md` lists the tags."""
    for name, (newest, average) in summary.losses.items():
        yield f"losses/{name}/raw", newest
        yield f"losses/{name}/average", average
    yield "learning_rate", summary.learning_rate
    for name, share in summary.sparsity.items():
        yield f"sparsity/{name}", share
    for group in ("weights", "gradients", "activations"):
        for name, histogram in getattr(summary, group).items():
            yield f"{group}/{name}", histogram
    for position, picture in enumerate(summary.inputs):
        yield f"inputs/{position}", _picture(picture)


def _picture(pixels: Images) -> Picture:
    height, width, _ = pixels.shape
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return Picture(height=height, width=width, png=file.getvalue())
