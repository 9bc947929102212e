"""`tandem wait`: conditions as they are spelled, and the exit code that each end of a run brings."""

import json
from typing import Any

import httpx
import pytest

from services.cli.client.views import Evaluation, Run
from services.cli.commands.wait import seconds_of
from services.cli.condition import parse_condition
from services.cli.waiting import End, Waiter
from shared.errors import InputError, UnavailableError
from tests.cli.fake_gateway import FakeGateway, in_turn, run_view, verdict
from tests.cli.terminal import Terminal

RUN = "20260102-030405-shapes-0a1b"
VIEW = Run.model_validate(run_view())


def judged(*verdicts: dict[str, Any]) -> list[Evaluation]:
    return [Evaluation.model_validate(each) for each in verdicts]


def test_comparisons_hold_for_the_weights_of_one_and_the_same_checkpoint() -> None:
    condition = parse_condition("ema_precision>=0.8 and raw_precision >= .7 AND step<200")
    apart = judged(
        verdict(100, "ema", 0.9), verdict(100, "raw", 0.6), verdict(150, "ema", 0.7), verdict(150, "raw", 0.8)
    )
    assert not condition.look(VIEW, apart).holds
    together = judged(*(each.model_dump() for each in apart), verdict(180, "ema", 0.8), verdict(180, "raw", 0.7))
    assert condition.look(VIEW, together).holds
    assert not condition.look(VIEW, judged(verdict(300, "ema", 0.9), verdict(300, "raw", 0.9))).holds


def test_precision_is_that_of_the_average_which_is_served() -> None:
    run = Run.model_validate(run_view(spec={"ema": {"decays": [0.999, 0.9999]}}))
    verdicts = judged(verdict(100, "ema", 0.9, decay=0.9999), verdict(100, "ema", 0.5, decay=0.999))
    assert not parse_condition("ema_precision>0.6").look(run, verdicts).holds


def test_lower_bound_of_the_interval_can_be_asked_for() -> None:
    verdicts = judged(verdict(100, "ema", 0.86, interval=[0.84, 0.88]))
    assert parse_condition("ema_precision_low>=0.84").look(VIEW, verdicts).holds
    assert not parse_condition("ema_precision_low>=0.85").look(VIEW, verdicts).holds


def test_conditions_about_the_run_need_no_verdict() -> None:
    assert parse_condition("average_loss<2 and step==150").look(VIEW, []).holds
    assert not parse_condition("wall_seconds>1").look(VIEW, []).holds  # not known is not so


@pytest.mark.parametrize(
    "text",
    ["", "precision>=0.8", "ema_precision", "ema_precision>=", "ema_precision>=0.8 or step>1", "loss=>1", "loss>1 and"],
)
def test_what_is_no_condition_is_refused_before_anything_is_sent(text: str) -> None:
    terminal = Terminal()
    assert terminal("wait", RUN, "--until", text) == 2
    assert "--until" in terminal.complaints.getvalue()
    assert terminal.gateway.requests == []


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2", 2), ("1d", 86400)])
def test_times_are_spelled_with_units(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1s", "30x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--timeout"):
        seconds_of(text)


class Scene:
    """A run that goes through `states`, the last for ever; a look takes no time, a sleep as long as it says."""

    def __init__(self, *states: Any, verdicts: list[dict[str, Any]] | None = None) -> None:
        self.now = 0.0
        self.looks = 0
        self.verdicts = list(verdicts or [])
        self.gateway = FakeGateway(
            {
                ("GET", f"/v1/runs/{RUN}"): in_turn(states, self._shown),
                ("GET", f"/v1/runs/{RUN}/evaluations"): lambda: {"evaluations": self.verdicts},
            }
        )

    def wait(self, condition: str | None, *, timeout: float | None = None) -> End:
        waiter = Waiter(
            client=self.gateway.client(),
            condition=None if condition is None else parse_condition(condition),
            clock=lambda: self.now,
            sleep=self._sleep,
            tell=lambda run, outcome: None,
        )
        return waiter.wait(RUN, timeout=timeout).end

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _shown(self, state: Any) -> Any:
        if isinstance(state, Exception):
            return state
        self.verdicts += state.pop("judged", []) if "judged" in state else []
        return run_view(**state)


def test_waiting_ends_as_soon_as_the_condition_holds() -> None:
    scene = Scene({}, {"judged": [verdict(100, "ema", 0.9)]})
    assert scene.wait("ema_precision>=0.86") is End.TRUE
    assert scene.now == 1.0


def test_waiting_ends_early_when_the_run_is_over_and_all_of_it_was_judged() -> None:
    over = {"state": "completed", "step": 300, "checkpoint_step": 300}
    scene = Scene({}, over, over, {**over, "judged": [verdict(300, "ema", 0.7)]})
    assert scene.wait("ema_precision>=0.86", timeout=1000) is End.NEVER
    assert scene.now == 3.0  # the last verdict was waited for


def test_failed_run_is_told_apart_from_one_that_was_not_good_enough() -> None:
    failed = {"state": "failed", "checkpoint_step": 100}
    assert Scene(failed, verdicts=[verdict(100, "ema", 0.3)]).wait("ema_precision>=0.86") is End.FAILED
    assert Scene({"state": "failed"}).wait(None) is End.FAILED
    assert Scene({"state": "stopped"}).wait(None) is End.NEVER
    assert Scene({}, {"state": "completed"}).wait(None) is End.TRUE


def test_time_that_is_up_ends_waiting() -> None:
    scene = Scene({})
    assert scene.wait("ema_precision>=0.86", timeout=2.5) is End.TOO_LATE
    assert scene.now == 2.5


def test_gateway_that_is_restarted_meanwhile_is_waited_for() -> None:
    refused = httpx.ConnectError("refused")
    assert Scene({}, refused, refused, {"state": "completed"}).wait(None) is End.TRUE
    with pytest.raises(UnavailableError):
        Scene(refused).wait(None)
    scene = Scene({}, refused)
    with pytest.raises(UnavailableError):
        scene.wait(None)
    assert 120 < scene.now < 130


@pytest.mark.parametrize(
    ("state", "until", "code"),
    [
        ("completed", "ema_precision>=0.6", 0),
        ("failed", "ema_precision>=0.9", 1),
        ("completed", "ema_precision>=0.9", 6),
        ("running", "ema_precision>=0.9", 7),
    ],
)
def test_exit_code_says_how_it_went(state: str, until: str, code: int) -> None:
    terminal = Terminal(
        {
            ("GET", f"/v1/runs/{RUN}"): run_view(state=state),
            ("GET", f"/v1/runs/{RUN}/evaluations"): {"evaluations": [verdict(100, "ema", 0.61)]},
        }
    )
    assert terminal("wait", RUN, "--until", until, "--timeout", "0", "--json") == code
    answer = json.loads(terminal.output.getvalue())
    assert (answer["holds"], answer["values"]) == (code == 0, {"ema_precision": 0.61})
