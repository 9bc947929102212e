"""Runs that are copied onto the volume slowly, in any order, while the gateway looks at them."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.gateway.arrival import STILL_SECONDS
from services.gateway.predict.aliases import BEST, LATEST
from shared.errors import NotFoundError, UnavailableError
from shared.layout import Volume
from shared.records import Aliases, Canary, read_record
from tests.gateway.predict.asking import asked, order, place, points

RUN = "20200101-000000-a-0001"
STEPS = {10: 0.5, 20: 0.8, 30: 0.6}


@pytest.fixture
def elsewhere(models: Any, make_serving: Any) -> Path:
    """A run as another machine has it: `best` is pinned, `stable` and `mine` were set by hand, one has a canary."""
    for step, precision in STEPS.items():
        models.export(RUN, step, precision=precision)
    serving = make_serving()
    for alias, step in ((BEST, 10), ("stable", 10), ("stable", 30), ("mine", 20)):
        place(serving, alias, step, run=RUN)
    canary = Canary(step=10, share=0.5)
    order(serving, lambda promotion, run: promotion.try_out(run, "mine", canary, reason="try"), run=RUN)
    serving.predictor.stop()
    root: Path = models.volume.runs.parent.with_name("elsewhere")
    models.volume.root.rename(root)
    (Volume(root).run(RUN).exports / ".lock").unlink()
    models.volume.runs.mkdir(parents=True)
    return Volume(root).run(RUN).root


def files(root: Path) -> list[Path]:
    return sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())


def copy_file(source: Path, target: Path) -> Iterator[None]:
    """As `cp` does it, into whatever is there; stops in the middle and at the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    with target.open("wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        yield
        file.write(data[len(data) // 2 :])
    yield


def rename_file(source: Path, target: Path) -> Iterator[None]:
    """As `rsync` does it: under a name of its own, then in the place of whatever is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.Xy12")
    yield from copy_file(source, part)
    part.rename(target)
    yield


def shuffled(seed: int) -> Callable[[list[Path]], list[Path]]:
    return lambda paths: random.Random(seed).sample(paths, len(paths))


ORDERS: dict[str, Callable[[list[Path]], list[Path]]] = {
    "files before folders": lambda paths: sorted(paths, key=lambda path: (len(path.parts), path)),
    "folders before files": lambda paths: sorted(paths, key=lambda path: (-len(path.parts), path)),
    "aliases last": lambda paths: sorted(paths, key=lambda path: (path.name == "aliases.json", path)),
    **{f"chance {seed}": shuffled(seed) for seed in range(4)},
}


@pytest.mark.parametrize("copy", [copy_file, rename_file])
@pytest.mark.parametrize("arranged", ORDERS)
def test_a_run_that_is_copied_slowly_keeps_its_aliases(
    elsewhere: Path, models: Any, make_serving: Any, arranged: str, copy: Callable[[Path, Path], Iterator[None]]
) -> None:
    folder, ticks = models.volume.run(RUN), [0.0]
    serving = make_serving(wall=time.time, clock=lambda: ticks[0])
    expected = read_record(elsewhere / "aliases.json", Aliases)
    for path in ORDERS[arranged](files(elsewhere)):
        for _ in copy(elsewhere / path, folder.root / path):
            ticks[0] += 31.0  # what could not be loaded is tried again
            serving.predictor.refresh()
            for name in (RUN, "stable", f"{RUN}@mine", "latest"):
                try:
                    assert asked(serving, name).keys() <= STEPS.keys()
                except (NotFoundError, UnavailableError):
                    continue  # it is not there yet
    serving.predictor.refresh()
    assert read_record(folder.aliases, Aliases) == expected
    assert asked(serving, "best") == {10: 1}
    assert asked(serving, "stable") == asked(serving, "latest") == {30: 1}
    assert asked(serving, "mine", 20).keys() == {10, 20}
    place(serving, "stable", 20, run=RUN)
    assert points(serving, RUN) == {BEST: 10, LATEST: 30, "mine": 20, "stable": 20}


def copied(elsewhere: Path, models: Any, *, without: str) -> Path:
    """The run on the gateway's volume, but for the files whose paths begin with `without`."""
    target: Path = models.volume.run(RUN).root
    for path in files(elsewhere):
        if not str(path).startswith(without):
            for _ in copy_file(elsewhere / path, target / path):
                pass
    return target


def test_an_alias_whose_export_never_comes_ends_once_the_copy_lies_still(
    elsewhere: Path, models: Any, make_serving: Any
) -> None:
    copied(elsewhere, models, without="exports/30")
    late = [0.0]
    serving = make_serving(wall=lambda: time.time() + late[0])
    with pytest.raises(UnavailableError, match="there is no export of step 30"):
        asked(serving, "stable")
    assert asked(serving, "best") == {10: 1}
    assert serving.predictor.why_not_ready() is None
    late[0] = STILL_SECONDS + 1
    serving.predictor.refresh()
    assert points(serving, RUN) == {BEST: 10, LATEST: 20, "mine": 20, "stable": 10}


def test_best_that_is_still_to_come_is_answered_by_what_is_there(
    elsewhere: Path, models: Any, make_serving: Any
) -> None:
    copied(elsewhere, models, without="exports/10")
    serving = make_serving(wall=time.time)
    assert asked(serving, "best") == {20: 1}
    assert serving.predictor.why_not_ready() is None
    assert points(serving, RUN)[BEST] == 10


def test_an_export_that_has_answered_and_is_lost_is_not_waited_for(
    elsewhere: Path, models: Any, make_serving: Any
) -> None:
    folder = copied(elsewhere, models, without="nothing")
    serving = make_serving(wall=time.time, max_loaded=1)
    assert asked(serving, "stable") == {30: 1}
    assert asked(serving, "best") == {10: 1}
    (folder / "exports" / "30").rename(folder / "exports" / ".trash-30")
    serving.predictor.refresh()
    assert points(serving, RUN)["stable"] == 10


def test_what_others_wrote_into_the_file_of_aliases_counts_and_is_told(models: Any, make_serving: Any) -> None:
    for step, precision in STEPS.items():
        models.export(RUN, step, precision=precision)
    serving = make_serving()
    place(serving, "stable", 10, run=RUN)
    path = models.volume.run(RUN).aliases
    path.write_text(path.read_text().replace('"stable"', '"demo"'))
    serving.predictor.refresh()
    assert asked(serving, "demo") == {10: 1}
    with pytest.raises(NotFoundError):
        asked(serving, "stable")
    assert (RUN, "demo: aliases.json was replaced from outside") in serving.told
    assert serving.metric("tandem_alias_step", run=RUN, alias="stable") is None
    path.write_text("{")
    serving.predictor.refresh()
    assert asked(serving, "demo") == {10: 1}, "what cannot be read changes nothing"
    path.write_text(Aliases().model_dump_json())
    place(serving, "mine", 20, run=RUN)
    assert points(serving, RUN) == {BEST: 20, LATEST: 30, "mine": 20}
