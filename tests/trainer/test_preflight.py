from typing import Literal

import pytest

from services.trainer.preflight import record_slot
from shared.errors import SettingsError
from shared.layout import Volume
from shared.records import Device, SlotRecord, read_record

CPU = Device(name="/physical_device:CPU:0", kind="cpu")
GPU = Device(name="/physical_device:GPU:0", kind="gpu")


def look(
    volume: Volume, *devices: Device, wanted: Literal["auto", "cpu", "gpu"], driver: str | None = None
) -> SlotRecord:
    versions = {"tandem": "1"} | ({} if driver is None else {"nvidia_driver": driver})
    return record_slot(
        volume=volume,
        slot="trainer-0",
        devices=lambda: devices,
        wanted=wanted,
        host="here",
        versions=versions,
        time=lambda: 1.0,
    )


def test_a_slot_with_a_gpu_has_no_problems_and_names_the_driver(volume: Volume) -> None:
    record = look(volume, GPU, CPU, wanted="gpu", driver="580.65")
    assert record.problems == ()
    assert record.versions["nvidia_driver"] == "580.65"
    assert read_record(volume.slot("trainer-0").record, SlotRecord) == record


def test_a_slot_that_wants_no_gpu_has_no_problem_without_one(volume: Volume) -> None:
    assert look(volume, CPU, wanted="cpu").problems == ()
    assert look(volume, CPU, wanted="auto").problems == ("no GPU: training runs on the processor",)


@pytest.mark.parametrize(
    ("driver", "said"), [(None, "NVIDIA's driver is not there"), ("470.1", "NVIDIA's driver 470.1 is there")]
)
def test_a_wanted_gpu_that_is_not_seen_fails_and_explains_itself(volume: Volume, driver: str | None, said: str) -> None:
    with pytest.raises(SettingsError, match="TANDEM_TRAINER_DEVICE") as failure:
        look(volume, CPU, wanted="gpu", driver=driver)
    assert said in str(failure.value)
    assert "Container Toolkit" in str(failure.value)
    assert said in read_record(volume.slot("trainer-0").record, SlotRecord).problems[0]
