"""Rules of a specification that end a run before its last step."""

from typing import Any

import pytest

from services.gateway.index import Run
from services.gateway.steering.rules import reason_to_end
from shared.layout import RunFolder
from shared.records import Desired, Verdict, write_record
from shared.spec import parse_spec


def verdict(step: int, precision: float | None, *, weights: Any = "ema", **values: Any) -> Verdict:
    decay = 0.9999 if weights == "ema" else None
    return Verdict(run="r", step=step, weights=weights, decay=decay, precision_at_1=precision, time=0.0, **values)


def ends(tmp_path: Any, until: Any, *verdicts: Verdict, seconds: float = 0.0, begin: int = 0) -> str | None:
    spec = parse_spec({"until": until}, source="x")
    desired = Desired(generation=1, state="running", rules_from=begin, time=0.0)
    run = Run(folder=RunFolder(tmp_path), spec=spec, created=0.0, desired=desired, verdicts=verdicts)
    return reason_to_end(run, seconds=seconds, cost=seconds / 3600 * 2)


def test_a_run_ends_when_the_average_is_good_enough(tmp_path: Any) -> None:
    until = {"ema_precision": 0.87}
    assert ends(tmp_path, until, verdict(10, 0.8699), verdict(20, 0.99, weights="raw")) is None
    reason = ends(tmp_path, until, verdict(10, 0.5), verdict(20, 0.8712), verdict(30, 0.86))
    assert reason == "until.ema_precision 0.87 is reached: 0.8712 at step 20"


def test_a_run_ends_when_the_raw_weights_are_good_enough(tmp_path: Any) -> None:
    assert ends(tmp_path, {"raw_precision": 0.5}, verdict(10, 0.9)) is None
    assert ends(tmp_path, {"raw_precision": 0.5}, verdict(10, 0.5, weights="raw")) is not None


def test_a_checkpoint_that_could_not_be_judged_ends_nothing(tmp_path: Any) -> None:
    assert ends(tmp_path, {"ema_precision": 0.1}, verdict(10, None, status="corrupt")) is None


@pytest.mark.parametrize(
    ("precisions", "gain", "over"),
    [
        ([0.5, 0.6, 0.6], 0.0, False),  # 0.6 was new within the last two
        ([0.5, 0.6, 0.6, 0.6], 0.0, True),
        ([0.5, 0.6, 0.59, 0.6001], 0.0, False),
        ([0.5, 0.6, 0.59, 0.6001], 0.001, True),
        ([0.6, 0.5], 0.0, False),  # two verdicts, and none before them
        ([], 0.0, False),
    ],
)
def test_a_run_ends_when_it_gets_no_better_over_so_many_verdicts(
    tmp_path: Any, precisions: list[float], gain: float, over: bool
) -> None:
    verdicts = [verdict(10 * (place + 1), value) for place, value in enumerate(precisions)]
    reason = ends(tmp_path, {"plateau": {"evaluations": 2, "gain": gain}}, *verdicts)
    assert (reason is not None) == over


def test_a_run_ends_when_its_time_or_money_is_used_up(tmp_path: Any) -> None:
    assert ends(tmp_path, {"wall_seconds": 60}, seconds=59.9) is None
    assert ends(tmp_path, {"wall_seconds": 60}, seconds=60) == "until.wall_seconds 60 is used up"
    assert ends(tmp_path, {"cost": 1}, seconds=1799) is None
    assert ends(tmp_path, {"cost": 1}, seconds=1800) == "until.cost 1 is used up"


def test_verdicts_from_before_a_restart_end_nothing(tmp_path: Any) -> None:
    assert ends(tmp_path, {"ema_precision": 0.5}, verdict(20, 0.9), begin=20) is None
    assert ends(tmp_path, {"ema_precision": 0.5}, verdict(30, 0.9), begin=20) is not None


def judge(bench: Any, run: str, step: int, precision: float) -> None:
    record = verdict(step, precision).model_copy(update={"run": run})
    write_record(bench.folder(run).verdict(step, "ema-0.9999"), record)


def test_the_gateway_stops_a_run_by_its_rules_and_says_why(bench: Any) -> None:
    run = bench.start(until={"ema_precision": 0.8})
    bench.step()
    bench.report(run, "running", step=60)
    judge(bench, run, 50, 0.7)
    bench.step()
    assert bench.state(run) == "running"
    judge(bench, run, 60, 0.81)
    bench.step()
    assert bench.state(run) == "stopping"
    assert bench.reason(run).startswith("until.ema_precision 0.8 is reached: 0.8100 at step 60")
    asked = [each for each in bench.events(run) if each.kind == "desired"]
    assert [each.details["state"] for each in asked] == ["stopped"]


def test_a_run_that_a_rule_has_stopped_can_go_on_until_there_is_a_new_reason(bench: Any) -> None:
    run = bench.start(until={"ema_precision": 0.8, "wall_seconds": 100})
    bench.step()
    bench.epoch += 101
    bench.step()
    assert bench.reason(run).startswith("until.wall_seconds 100 is used up")
    judge(bench, run, 60, 0.81)
    bench.launcher.die("slot-0", 0)
    bench.step()
    bench.control.restart(run)
    bench.step()
    bench.step()
    assert bench.state(run) == "starting"
    bench.epoch += 101
    bench.step()
    assert bench.state(run) == "stopping"


def test_a_paused_run_is_left_to_those_who_paused_it(bench: Any) -> None:
    run = bench.start(until={"ema_precision": 0.8})
    bench.control.pause(run)
    judge(bench, run, 60, 0.81)
    bench.step()
    assert bench.state(run) == "paused"
