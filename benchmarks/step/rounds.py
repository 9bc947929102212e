"""Rounds of measurements: stretches with averages and without take turns."""

from dataclasses import dataclass

from benchmarks import engines
from benchmarks.step.alone import averages_update, distortion, seconds_of, seconds_of_a_beat
from benchmarks.step.scene import Scene, Stretch
from shared.data.catalog import open_dataset
from shared.layout import Volume
from shared.spec import EmaSpec, RunSpec


@dataclass(frozen=True)
class Round:
    """A stretch with averages and one without, and what was timed alone beside them.

    Attributes:
        whole: With averages.
        plain: Without.
        distorting: Seconds of a batch's distortion.
        distorting_processor: The same, of processors.
        averaging: Seconds of an update of the averages.
        beat: Seconds of a processor for a heartbeat.
    """

    whole: Stretch
    plain: Stretch
    distorting: float
    distorting_processor: float
    averaging: float
    beat: float


def measure(spec: RunSpec, volume: Volume, *, rounds: int, steps: int) -> list[Round]:
    """Trains in turns.

    Args:
        spec: What is trained.
        volume: Where its files are written.
        rounds: How many.
        steps: Of a stretch, at least as many as between two points of the series.
    """
    dataset = open_dataset(spec.dataset, volume=volume)
    # What no recipe may ask for: no averages at all.
    bare = spec.model_copy(update={"ema": EmaSpec.model_construct(decays=())})
    whole, plain = (
        Scene(spec=spec, dataset=dataset, engine=engines.build(one, dataset), folder=volume.run(name), steps=steps)
        for name, one in (("whole", spec), ("plain", bare))
    )
    distort, average = distortion(spec, dataset), averages_update(spec, dataset)
    found = []
    for number in range(-1, rounds):
        # Whoever comes second finds a machine that is a little warmer, so they change places.
        pair = {scene: scene.stretch() for scene in ((whole, plain) if number % 2 else (plain, whole))}
        (distorting, distorting_processor), (averaging, _) = seconds_of(distort), seconds_of(average)
        if number >= 0:  # before that the graphs are built
            found.append(
                Round(
                    whole=pair[whole],
                    plain=pair[plain],
                    distorting=distorting,
                    distorting_processor=distorting_processor,
                    averaging=averaging,
                    beat=seconds_of_a_beat(whole.heartbeat),
                )
            )
    whole.close()
    plain.close()
    return found
