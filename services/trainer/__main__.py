"""`python -m services.trainer`: puts the trainer together with TensorFlow, and starts it."""

import logging
import os
import sys
from collections.abc import Sequence

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


def run(arguments: Sequence[str], *, parts: Parts) -> int:
    """Carries out what the arguments say with the given parts. Returns the exit status."""
    given = parse_arguments(arguments)
    stop = StopEvent()
    stop.install()
    try:
        settings = load_settings(TrainerSettings, volume=given.volume)
        logs.configure(service="trainer", level=settings.log_level)
        prepare_tensorflow(os.environ, device=settings.trainer_device, threads=settings.trainer_threads)
        command = Command(settings=settings, parts=parts, stop=stop, clocks=Clocks())
        return command.carry_out(Order(slot=given.slot, run=given.run, recipe=given.recipe, fresh=given.fresh))
    except TandemError as error:
        sys.stderr.write(f"trainer: {error}\n")
        return exit_status(error)
    except OSError as error:
        sys.stderr.write(f"trainer: {error.filename or 'the volume'}: {error.strerror or error}\n")
        return 1


def _build_engine(spec: RunSpec, dataset: Dataset) -> Engine:
    # Imported late: it takes seconds, and by now it is clear that the run can go on and somebody hears it beat.
    from services.trainer.step import build_engine  # noqa: PLC0415

    return build_engine(
        spec,
        classes=len(dataset.classes),
        image_shape=dataset.train.image_shape,
        train_examples=len(dataset.train),
        statistics=channel_statistics(dataset.train) if spec.augment.standardize == "dataset" else None,
    )


def _devices() -> tuple[Device, ...]:
    from services.trainer.devices import visible_devices  # noqa: PLC0415

    return visible_devices()


def main() -> None:
    """The program. Its exit status is that of `Command`."""
    parts = Parts(
        open_dataset=open_dataset,
        build_engine=_build_engine,
        devices=_devices,
        evaluate=become_evaluator,
        gpus=find_gpus,
    )
    status = run(sys.argv[1:], parts=parts)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)


if __name__ == "__main__":
    main()
