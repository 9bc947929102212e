from pathlib import Path

import pytest

from shared.devices import Device, available_processors, prepare_tensorflow, processor_features, trains_on_gpu


def test_the_kernels_that_tensorflow_leaves_off_on_older_processors_are_switched_on(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    prepare_tensorflow(environment, device="auto", threads=3, nodes=tmp_path)
    assert environment["TF_ENABLE_ONEDNN_OPTS"] == "1"
    assert environment["TF_NUM_INTRAOP_THREADS"] == environment["TF_NUM_INTEROP_THREADS"] == "3"
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "CUDA_VISIBLE_DEVICES" not in environment


@pytest.mark.parametrize(
    ("device", "visible", "kernels"),
    [
        ("auto", None, None),
        ("auto", "0", None),
        ("gpu", None, None),
        ("auto", "-1", "1"),
        ("auto", "", "1"),
        ("cpu", "0", "1"),
    ],
)
def test_beside_a_gpu_that_does_the_work_the_processors_kernels_are_left_alone(
    tmp_path: Path, device: Device, visible: str | None, kernels: str | None
) -> None:
    (tmp_path / "nvidiactl").touch()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    prepare_tensorflow(environment, device=device, nodes=tmp_path)
    assert environment.get("TF_ENABLE_ONEDNN_OPTS") == kernels


def test_what_the_user_has_set_stays() -> None:
    environment = {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "7"}
    prepare_tensorflow(environment, device="auto", threads=3)
    assert (environment["TF_ENABLE_ONEDNN_OPTS"], environment["TF_NUM_INTRAOP_THREADS"]) == ("0", "7")


def test_a_process_for_the_processor_sees_no_gpu_whatever_was_set() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "0"}
    prepare_tensorflow(environment, device="cpu")
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize(("text", "expected"), [("50000 100000", 1), ("150000 100000", 2), ("max 100000", 64)])
def test_a_containers_quota_limits_the_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "cpu.max").write_text(text + "\n")
    assert available_processors(tmp_path) == expected


def test_without_control_groups_the_affinity_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5, 9})
    assert available_processors(tmp_path) == 3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx avx2 avx512f avx512_vnni", "avx512_vnni"),
        ("flags\t\t: fpu avx avx2", "avx2"),
        ("Features\t: fp asimd", "asimd"),
        ("flags\t\t: fpu", "baseline"),
    ],
)
def test_the_newest_vector_instructions_name_the_processor(tmp_path: Path, line: str, expected: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"model name: avx512f\n{line}\n")
    assert processor_features(tmp_path / "cpuinfo") == expected


def test_a_processor_that_says_nothing_is_taken_for_a_plain_one(tmp_path: Path) -> None:
    assert processor_features(tmp_path / "missing") == "baseline"


@pytest.mark.parametrize(
    ("driver", "package", "environment", "expected"),
    [
        (True, False, {}, True),
        (True, True, {}, False),
        (False, False, {}, False),
        (True, False, {"CUDA_VISIBLE_DEVICES": "-1"}, False),
        (True, False, {"TANDEM_TRAINER_DEVICE": "cpu"}, False),
        (False, True, {"TANDEM_TRAINER_DEVICE": "gpu"}, True),
    ],
)
def test_a_gpu_is_expected_where_its_driver_is_and_tensorflow_can_use_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    driver: bool,
    package: bool,
    environment: dict[str, str],
    expected: bool,
) -> None:
    if driver:
        (tmp_path / "nvidiactl").touch()
    (tmp_path / "site" / "tensorflow_cpu-2.0.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "tensorflow_cpu-2.0.dist-info" / "METADATA").write_text("Name: tensorflow-cpu\nVersion: 2.0\n")
    monkeypatch.setattr("sys.path", [str(tmp_path / "site")] if package else [])
    assert trains_on_gpu(environment, nodes=tmp_path) == expected
