"""`python -m services.trainer`: puts the trainer together with TensorFlow, and starts it."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence

from services.trainer.command import Command, Order, Parts, exit_status, parse_arguments
from services.trainer.engine import Engine
from services.trainer.gpu import find_gpus
from services.trainer.handover import become_evaluator
from services.trainer.session import Clocks
from services.trainer.settings import TrainerSettings
from shared import logs
from shared.data.catalog import open_dataset
from shared.data.examples import Dataset
from shared.data.statistics import channel_statistics
from shared.devices import prepare_tensorflow
from shared.errors import TandemError
from shared.lifecycle import StopEvent
from shared.records import Device
from shared.settings import load_settings
from shared.spec import RunSpec


def run(arguments: Sequence[str], *, make_parts: Callable[[TrainerSettings], Parts]) -> int:
    """Carries out what the arguments say with the given parts. Returns the exit status."""
    given = parse_arguments(arguments)
    stop = StopEvent()
    stop.install()
    try:
        settings = load_settings(TrainerSettings, volume=given.volume)
        logs.configure(service="trainer", level=settings.log_level)
        prepare_tensorflow(os.environ, device=settings.trainer_device, threads=settings.trainer_threads)
        command = Command(settings=settings, parts=make_parts(settings), stop=stop, clocks=Clocks())
        return command.carry_out(Order(slot=given.slot, run=given.run, recipe=given.recipe, fresh=given.fresh))
    except TandemError as error:
        sys.stderr.write(f"trainer: {error}\n")
        return exit_status(error)
    except OSError as error:
        sys.stderr.write(f"trainer: {error.filename or 'the volume'}: {error.strerror or error}\n")
        return 1


def _parts(settings: TrainerSettings) -> Parts:
    # TensorFlow is imported late: it takes seconds, and by then it is clear that the run can go on and somebody hears
    # it beat.
    def build_engine(spec: RunSpec, dataset: Dataset) -> Engine:
        from services.trainer.step import build_engine  # noqa: PLC0415

        divide_processor()
        return build_engine(
            spec,
            classes=len(dataset.classes),
            image_shape=dataset.train.image_shape,
            train_examples=len(dataset.train),
            statistics=channel_statistics(dataset.train) if spec.augment.standardize == "dataset" else None,
            own_modules=settings.model_modules,
        )

    def devices() -> tuple[Device, ...]:
        from services.trainer.devices import visible_devices  # noqa: PLC0415

        divide_processor()
        return visible_devices()

    @functools.cache
    def divide_processor() -> None:
        from services.trainer.devices import divide_processor  # noqa: PLC0415

        if settings.trainer_logical_devices is not None:
            divide_processor(settings.trainer_logical_devices)

    return Parts(
        open_dataset=open_dataset,
        build_engine=build_engine,
        devices=devices,
        evaluate=become_evaluator,
        gpus=find_gpus,
    )


def main() -> None:
    """The program. Its exit status is that of `Command`."""
    status = run(sys.argv[1:], make_parts=_parts)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)


if __name__ == "__main__":
    main()
