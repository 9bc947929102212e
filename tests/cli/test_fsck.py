"""`tandem fsck`: each kind of damage is found and named, and what is whole or at work is left in peace."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.cli.fsck.check import Checker
from services.cli.fsck.report import Report
from shared import atomic
from shared.answers import file_record
from shared.checkpoints import CheckpointStore, spec_digest
from shared.data.checksums import CHECKSUMS, Checksums
from shared.layout import MANIFEST, RunFolder, Volume
from shared.records import (
    Desired,
    ExportManifest,
    FileRecord,
    Lease,
    LineWriter,
    Origin,
    Parent,
    SeriesPoint,
    Verdict,
    encode_record,
    write_record,
)
from shared.spec import parse_spec
from tests.cli.terminal import Terminal

SPEC = parse_spec({"dataset": {"kind": "shapes"}}, source="test")
POINT = SeriesPoint(
    step=10, time=0, loss=1, cross_entropy=1, average_loss=1, learning_rate=0.1, examples_per_second=100
)


def make_run(volume: Volume, name: str = "a-run") -> RunFolder:
    """A run with a checkpoint, an export, verdicts, desired state and a curve."""
    folder = volume.run(name)
    write_record(folder.spec, SPEC)
    write_record(folder.desired, Desired(generation=1, state="running", time=0))
    arrays = {"weight": np.arange(3, dtype=np.float32)}
    groups = {"raw": arrays, "ema-0.9999": arrays, "optimizer": {}}
    CheckpointStore(folder).commit(step=10, fence=1, spec_sha256=spec_digest(SPEC), groups=groups, time=0)
    for kind, decay in (("raw", None), ("ema-0.9999", 0.9999)):
        weights = "raw" if decay is None else "ema"
        atomic.replace_file(folder.answers(10, kind), b"answers")
        answers = file_record(b"answers")
        verdict = Verdict(run=name, step=10, weights=weights, decay=decay, answers=answers, time=0)
        write_record(folder.verdict(10, kind), verdict)
    with atomic.committing(folder.export(10)) as export:
        digest = export.write("model.onnx", b"a model")
        files = {"model.onnx": FileRecord(size=digest.size, sha256=digest.sha256)}
        manifest = ExportManifest(
            run=name,
            step=10,
            weights="raw",
            decay=None,
            files=files,
            input_shape=(32, 32, 3),
            classes=("a", "b"),
            precision_at_1=0.5,
            greatest_difference=0.0,
            time=0,
        )
        export.write(MANIFEST, encode_record(manifest))
    series = LineWriter(folder.series)
    series.append(POINT)
    series.close()
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


@pytest.fixture
def folder(volume: Volume) -> RunFolder:
    return make_run(volume)


def check(volume: Volume, *, sleep: Callable[[float], object] = lambda _: None) -> Report:
    return Checker(volume=volume, progress=lambda _: None, clock=lambda: 0.0, sleep=sleep, patience=15).check()


def found(report: Report) -> list[tuple[str, str, str]]:
    return [(finding.level, finding.path, finding.problem) for finding in report.findings]


def test_whole_volume_has_nothing_to_tell_of(volume: Volume, folder: RunFolder) -> None:
    report = check(volume)
    assert found(report) == []
    assert report.checked["checkpoints"] == report.checked["exports"] == report.checked["lines"] == 1
    assert report.checked["verdicts"] == report.checked["answers"] == 2
    assert report.checked["bytes"] > 7


def make_fork(volume: Volume, parent: RunFolder) -> RunFolder:
    """A run that begins with the checkpoint of another."""
    folder = volume.run("fork")
    write_record(folder.spec, SPEC)
    shutil.copytree(parent.checkpoint(10), folder.initial)
    digest = hashlib.sha256((folder.initial / MANIFEST).read_bytes()).hexdigest()
    write_record(folder.origin, Origin(parent=Parent(run=parent.id, step=10, manifest_sha256=digest), time=0))
    return folder


def test_what_a_fork_begins_with_is_checked_too(volume: Volume, folder: RunFolder) -> None:
    fork = make_fork(volume, folder)
    assert found(check(volume)) == []
    flip(fork.initial / "raw.safetensors")
    assert found(check(volume)) == [
        ("damaged", "runs/fork/initial/raw.safetensors", "does not match its digest"),
    ]
    shutil.rmtree(fork.initial)
    assert found(check(volume)) == [("damaged", "runs/fork/initial/manifest.json", "cannot be read")]


def test_a_fork_that_begins_with_another_checkpoint_than_its_origin_says_is_damaged(
    volume: Volume, folder: RunFolder
) -> None:
    fork = make_fork(volume, folder)
    path = fork.initial / MANIFEST
    path.write_bytes(path.read_bytes() + b"\n")
    assert found(check(volume)) == [
        ("damaged", "runs/fork/initial/manifest.json", "is not the manifest that origin.json names"),
    ]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "path", "problem"),
    [
        (lambda f: flip(f.checkpoint(10) / "raw.safetensors"), "checkpoints/10/raw.safetensors", "match its digest"),
        (lambda f: (f.checkpoint(10) / "raw.safetensors").unlink(), "checkpoints/10/raw.safetensors", "no such file"),
        (
            lambda f: (f.checkpoint(10) / "raw.safetensors").write_bytes(b"x"),
            "checkpoints/10/raw.safetensors",
            "1 bytes",
        ),
        (lambda f: (f.checkpoint(10) / MANIFEST).write_bytes(b"{"), "checkpoints/10/manifest.json", "not JSON"),
        (lambda f: (f.checkpoint(10) / MANIFEST).unlink(), "checkpoints/10", "has no manifest"),
        (lambda f: f.checkpoint(10).rename(f.checkpoint(20)), "checkpoints/20", "speaks of step 10"),
        (lambda f: flip(f.export(10) / "model.onnx"), "exports/10/model.onnx", "match its digest"),
        (lambda f: f.verdict(10, "raw").write_bytes(b"[]"), "evaluations/10/raw.json", "should be an object"),
        (lambda f: flip(f.answers(10, "raw")), "evaluations/10/raw.answers", "match its digest"),
        (lambda f: f.desired.write_bytes(b""), "desired.json", "not JSON"),
        (lambda f: f.spec.write_text('{"schema_version": 9}'), "spec.json", "schema version 9"),
    ],
)
def test_damage_is_named(
    volume: Volume, folder: RunFolder, damage: Callable[[RunFolder], object], path: str, problem: str
) -> None:
    damage(folder)
    ((level, where, what),) = found(check(volume))
    assert (level, where) == ("damaged", f"runs/a-run/{path}")
    assert problem in what


def test_answers_that_retention_removed_are_no_damage(volume: Volume, folder: RunFolder) -> None:
    folder.answers(10, "raw").unlink()
    assert found(check(volume)) == []


def test_files_of_a_data_set_are_those_that_were_verified(volume: Volume) -> None:
    place = volume.datasets / "cifar10"
    place.mkdir(parents=True)
    (place / "a.bin").write_bytes(b"pixels")
    digest = atomic.Digest.of(b"pixels")
    record = FileRecord(size=digest.size, sha256=digest.sha256)
    write_record(place / CHECKSUMS, Checksums(source="somewhere", archive=record, files={"a.bin": record}))
    assert found(check(volume)) == []
    flip(place / "a.bin")
    assert found(check(volume)) == [("damaged", "datasets/cifar10/a.bin", "does not match its digest")]


def test_what_crashes_leave_behind_is_noted_and_is_no_damage(volume: Volume, folder: RunFolder) -> None:
    (folder.checkpoints / ".tmp-20-1-abcd").mkdir()
    (volume.runs / ".trash-old-1-abcd").mkdir()
    with folder.series.open("ab") as file:
        file.write(b"no record\n{torn")
    report = check(volume)
    assert {(level, path) for level, path, _ in found(report)} == {
        ("note", "runs/a-run/checkpoints/.tmp-20-1-abcd"),
        ("note", "runs/.trash-old-1-abcd"),
        ("note", "runs/a-run/trainer/series.jsonl"),
    }
    assert report.damaged == []


def test_line_that_was_being_written_is_no_torn_one(volume: Volume, folder: RunFolder) -> None:
    line = POINT.model_dump_json().encode()
    with folder.series.open("ab") as file:
        file.write(line[:5])
    write_record(folder.lease(10), Lease(step=10, owner="evaluator", token="t", beat=1, time=0))

    def meanwhile(_: float) -> None:
        with folder.series.open("ab") as file:
            file.write(line[5:] + b"\n")
        write_record(folder.lease(10), Lease(step=10, owner="evaluator", token="t", beat=2, time=0))

    assert found(check(volume, sleep=meanwhile)) == []


def test_lease_that_does_not_beat_or_whose_checkpoint_is_gone_is_noted(volume: Volume, folder: RunFolder) -> None:
    for step in (10, 20):
        write_record(folder.lease(step), Lease(step=step, owner="evaluator", token="t", beat=1, time=0))
    waits: list[float] = []
    report = check(volume, sleep=waits.append)
    assert waits == [15]
    problems = {path.rpartition("/")[2]: problem for _, path, problem in found(report)}
    assert "has not beaten for 15 s" in problems["10.json"]
    assert "is gone" in problems["20.json"]


def test_checkpoint_that_is_removed_while_it_is_read_is_no_damage(volume: Volume, folder: RunFolder) -> None:
    (folder.checkpoint(10) / "raw.safetensors").unlink()

    class Vanishing(Checker):
        def _digest(self, path: Path) -> tuple[int, str]:
            atomic.remove_folder(path.parent)
            return super()._digest(path)

    checker = Vanishing(volume=volume, progress=lambda _: None, clock=lambda: 0, sleep=lambda _: None, patience=0)
    assert [finding for finding in checker.check().findings if "checkpoints" in finding.path] == []


def tandem(volume: Volume, *arguments: str) -> tuple[int, Terminal]:
    terminal = Terminal(volume=volume.root)
    return terminal("fsck", *arguments, "--patience", "0"), terminal


def test_exit_code_tells_damage_from_notes(volume: Volume, folder: RunFolder) -> None:
    code, terminal = tandem(volume)
    assert code == 0
    assert terminal.lines[-1].startswith("checked  1 runs, 1 checkpoints, 1 exports, 2 verdicts, 2 answers, ")
    (folder.checkpoints / ".tmp-20-1-abcd").mkdir()
    assert tandem(volume)[0] == 0
    flip(folder.checkpoint(10) / "raw.safetensors")
    code, terminal = tandem(volume, "--json")
    assert code == 6
    assert json.loads(terminal.output.getvalue())["damaged"] == 1
    assert terminal.gateway.requests == []


def test_quarantine_moves_what_is_damaged_and_only_that(volume: Volume, folder: RunFolder) -> None:
    other = make_run(volume, "b-run")
    flip(folder.checkpoint(10) / "raw.safetensors")
    flip(folder.export(10) / "model.onnx")
    folder.verdict(10, "raw").write_bytes(b"")
    folder.desired.write_bytes(b"")
    code, terminal = tandem(volume, "--quarantine")
    assert code == 6
    assert sorted(path.name for path in folder.quarantine.iterdir()) == ["10", "evaluation-10-raw.json", "export-10"]
    assert any("-> runs/a-run/quarantine/10" in line for line in terminal.lines)
    assert CheckpointStore(other).open(10).step == 10
    code, terminal = tandem(volume)
    assert [line.split()[:2] for line in terminal.lines[:-1]] == [["damaged", "runs/a-run/desired.json:"]]


def test_nothing_is_moved_under_a_trainer_at_work(volume: Volume, folder: RunFolder) -> None:
    flip(folder.checkpoint(10) / "raw.safetensors")
    folder.trainer.mkdir(exist_ok=True)
    with folder.lock.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, terminal = tandem(volume, "--quarantine")
    assert code == 6
    assert folder.checkpoint(10).is_dir()
    assert "a trainer works on a-run" in " ".join(terminal.complaints.getvalue().split())


def test_volume_and_runs_that_are_not_there_are_named(volume: Volume, folder: RunFolder) -> None:
    assert tandem(volume, "a-run")[0] == 0
    code, terminal = tandem(volume, "c-run")
    assert code == 2
    assert "there is no run 'c-run'" in " ".join(terminal.complaints.getvalue().split())
    assert Terminal(volume=volume.root / "none")("fsck") == 2
