"""`tandem up` follows a run from its start to its end; here the gateway is a fake and no process is started."""

import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from services.cli.screen import Screen
from services.cli.up.children import Supervisor
from services.cli.up.picture import TestPicture
from services.cli.up.plan import Plan
from services.cli.up.together import Together
from shared.errors import SpecError
from shared.lifecycle import StopEvent
from shared.recipes import load
from shared.spec import overlay, parse_spec
from tests.cli.fake_gateway import FakeGateway, error_response, in_turn, run_view, verdict

CHANGES = {"steps": 300}
PLAN = Plan(recipe="shapes", changes=CHANGES, spec=parse_spec(overlay(load("shapes"), CHANGES), source="shapes"))
SPEC = PLAN.spec.model_dump(mode="json")
RUN = "20260102-030405-shapes-0a1b"
ANSWER = {
    "model": RUN,
    "run": RUN,
    "step": 300,
    "weights": "ema",
    "decay": 0.9999,
    "precision_at_1": 0.9,
    "predictions": [{"classes": [{"label": "ring", "probability": 0.97}, {"label": "disc", "probability": 0.02}]}],
}


class Clock:
    """Every look is a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Scene:
    """One `tandem up` before a gateway whose run goes through `states`, the last for ever."""

    def __init__(self, *states: dict[str, Any], keep: bool = False, runs: list[dict[str, Any]] | None = None) -> None:
        self.stop = StopEvent()
        self.output = io.StringIO()
        self.gateway = FakeGateway(
            {
                ("GET", "/readyz"): httpx.Response(200),
                ("GET", "/v1/runs"): {"runs": runs or []},
                ("POST", "/v1/runs"): httpx.Response(201, json=run_view(state="queued", step=0, spec=SPEC)),
                ("GET", f"/v1/runs/{RUN}"): in_turn(states, self._shown),
                ("GET", f"/v1/runs/{RUN}/evaluations"): lambda: {"evaluations": self.verdicts},
                ("POST", f"/v1/models/{RUN}:classify"): ANSWER,
            }
        )
        self.verdicts: list[dict[str, Any]] = []
        self.together = Together(
            plan=PLAN,
            supervisor=Supervisor(children=(), clock=Clock()),
            client=self.gateway.client(),
            picture=lambda: TestPicture(path=Path("/volume/up/shapes-test-7.png"), number=7, label="ring", data=b"png"),
            screen=Screen(console=Console(file=self.output, width=200), clock=Clock(), interval=0),
            stop=self.stop,
            clock=Clock(),
            sleep=lambda _: None,
            keep=keep,
            poll=0.0,
        )

    def run(self) -> int:
        return self.together.run()

    @property
    def lines(self) -> list[str]:
        return self.output.getvalue().splitlines()

    def line(self, start: str) -> str:
        (found,) = [line for line in self.lines if line.startswith(start)]
        return found

    def _shown(self, state: dict[str, Any]) -> Any:
        state = dict(state)
        if state.pop("stop", False):
            self.stop.set()
        if state.pop("away", False):
            return httpx.ConnectError("Connection refused")
        self.verdicts += state.pop("judged", [])
        return run_view(spec=SPEC, latest=self.verdicts[-2:] or None, **state)


BOTH = [verdict(300, "raw", 0.88), verdict(300, "ema", 0.9)]
COMPLETED = {"state": "completed", "step": 300, "progress": 1.0, "judged": BOTH}


def test_run_is_started_followed_judged_and_asked_about_a_test_picture() -> None:
    half = {"judged": [verdict(100, "ema", 0.61), verdict(100, "raw", 0.58)]}
    scene = Scene({"state": "running"}, half, COMPLETED)
    assert scene.run() == 0
    assert scene.line("started") == f"started     {RUN}, 300 steps on shapes"
    assert scene.line("evaluation  step 100") == "evaluation  step 100: precision at 1 EMA 0.9999 0.610, raw 0.580"
    assert scene.line("evaluation  step 300") == "evaluation  step 300: precision at 1 EMA 0.9999 0.900, raw 0.880"
    assert "step 150 of 300  loss 1.750  rate 0.1  812 examples/s  ETA 1:15" in scene.lines
    assert scene.line("picture") == "picture     /volume/up/shapes-test-7.png (test picture 7, labelled ring)"
    assert scene.line("answer") == "answer      ring 0.970, disc 0.020"
    assert scene.line("completed") == f"completed   {RUN} at step 300 of 300"
    assert scene.line("API docs") == "API docs    http://gateway.test/docs"
    assert scene.line("metrics") == "metrics     http://gateway.test/metrics"
    result = scene.together.result
    assert (result["id"], result["state"]) == (RUN, "completed")
    assert [each["step"] for each in result["evaluations"]] == [100, 100, 300, 300]
    assert result["answer"]["predictions"][0]["classes"][0]["label"] == "ring"


def test_unfinished_run_of_the_same_spec_is_gone_on_with() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC | {"labels": {"by": "somebody"}}, checkpoint_step=100)])
    assert scene.run() == 0
    assert scene.line("going on") == f"going on    {RUN}, from step 100 of 300"
    assert ("POST", "/v1/runs") not in [(request.method, request.url.path) for request in scene.gateway.requests]


def test_finished_run_of_the_same_spec_is_not_gone_on_with() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC, state="completed", id="20250101-000000-shapes-0000")])
    assert scene.run() == 0
    assert scene.line("started")


OTHER = "20250101-000000-shapes-0000"


def slots(scene: Scene, count: int) -> None:
    scene.gateway.answers["GET", "/v1/slots"] = {
        "slots": [{"name": f"slot-{i}", "state": "free"} for i in range(count)]
    }


def test_unfinished_run_of_another_spec_is_parked_so_that_this_one_need_not_wait() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC | {"steps": 7}, id=OTHER)])
    slots(scene, 1)
    scene.gateway.answers["POST", f"/v1/runs/{OTHER}:pause"] = run_view(id=OTHER, state="pausing")
    assert scene.run() == 0
    assert scene.line("parked") == (
        f"parked      {OTHER}, unfinished at step 150 of 300; `tandem runs resume {OTHER}` lets it go on"
    )
    assert scene.line("started")


def test_unfinished_run_of_another_spec_goes_on_where_there_is_a_slot_for_both() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC | {"steps": 7}, id=OTHER)])
    slots(scene, 2)
    assert scene.run() == 0
    assert "goes on beside this one" in scene.line("also there")


def test_run_that_cannot_be_paused_is_told_of_and_stops_nothing() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC | {"steps": 7}, id=OTHER, state="stopping")])
    slots(scene, 1)
    scene.gateway.answers["POST", f"/v1/runs/{OTHER}:pause"] = error_response(409, "conflict", "it is stopping")
    assert scene.run() == 0
    assert scene.line("also there").endswith("it is stopping")


def test_parked_run_of_the_same_spec_is_resumed() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC, state="paused", checkpoint_step=100)])
    scene.gateway.answers["POST", f"/v1/runs/{RUN}:resume"] = run_view(spec=SPEC, checkpoint_step=100)
    assert scene.run() == 0
    assert scene.line("going on") == f"going on    {RUN}, from step 100 of 300"
    assert ("POST", f"/v1/runs/{RUN}:resume") in [(one.method, one.url.path) for one in scene.gateway.requests]


def test_judgements_from_before_are_one_line() -> None:
    scene = Scene(COMPLETED, runs=[run_view(spec=SPEC)])
    scene.verdicts += [verdict(step, kind, 0.5) for step in (100, 200) for kind in ("raw", "ema")]
    assert scene.run() == 0
    assert [line for line in scene.lines if "step 200" in line and "(before)" in line]
    assert not [line for line in scene.lines if "step 100:" in line]


def test_last_verdict_is_waited_for() -> None:
    done = {"state": "completed", "step": 300}
    scene = Scene(done)
    looks = 0

    def evaluations() -> dict[str, Any]:
        nonlocal looks
        looks += 1
        return {"evaluations": BOTH if looks > 5 else BOTH[:1]}

    scene.gateway.answers["GET", f"/v1/runs/{RUN}/evaluations"] = evaluations
    assert scene.run() == 0
    assert "waiting for the verdict on step 300" in scene.lines
    assert scene.line("evaluation  step 300")


def test_verdict_that_never_comes_is_given_up_on() -> None:
    scene = Scene({"state": "completed", "step": 300})
    assert scene.run() == 0
    assert scene.line("no verdict")
    assert not [line for line in scene.lines if line.startswith("answer")]


def test_trainer_that_died_and_is_started_again_is_told_of_once() -> None:
    dead = {"state": "restarting", "reason": "its trainer was killed by signal 9", "checkpoint_step": 100}
    scene = Scene({"state": "running"}, dead, dead, {"state": "running"}, COMPLETED)
    assert scene.run() == 0
    assert scene.line("restarting") == "restarting  from step 100: its trainer was killed by signal 9"


def test_failed_run_says_why_and_exits_1() -> None:
    failure = {"code": "diverged", "message": "the loss is nan", "where": RUN, "hint": "Lower the rate"}
    scene = Scene({"state": "failed", "failure": failure})
    assert scene.run() == 1
    assert scene.line("failure") == f"failure     {RUN}: the loss is nan. Lower the rate"


def test_gateway_that_is_away_for_a_while_is_waited_for() -> None:
    scene = Scene({"away": True}, {"away": True}, COMPLETED)
    assert scene.run() == 0


def test_ctrl_c_stops_in_order_and_exits_0() -> None:
    scene = Scene({"state": "running", "stop": True})
    assert scene.run() == 0
    assert scene.line("stopping")
    assert scene.line("stopped").endswith("running it again goes on from here")


def test_model_that_is_not_loaded_yet_is_asked_again() -> None:
    scene = Scene(COMPLETED)
    answers = iter([error_response(503, "unavailable", "no model yet"), httpx.Response(200, json=ANSWER)])
    scene.gateway.answers["POST", f"/v1/models/{RUN}:classify"] = lambda: next(answers)
    assert scene.run() == 0
    assert scene.line("answer")


def test_picture_is_classified_by_the_best_model_and_not_by_the_one_before_it() -> None:
    best = {"run": RUN, "step": 300, "weights": "ema", "decay": 0.9999, "precision_at_1": 0.9, "interval": [0.8, 0.95]}
    scene = Scene({**COMPLETED, "best": best})
    answers = iter([{**ANSWER, "step": 200}, ANSWER])
    scene.gateway.answers["POST", f"/v1/models/{RUN}:classify"] = lambda: httpx.Response(200, json=next(answers))
    assert scene.run() == 0
    assert any("by the EMA 0.9999 weights of step 300" in line for line in scene.output.getvalue().splitlines())


def test_refused_run_is_an_error() -> None:
    scene = Scene(COMPLETED)
    scene.gateway.answers["POST", "/v1/runs"] = error_response(422, "bad_spec", "must be positive", where="steps")
    with pytest.raises(SpecError, match="steps"):
        scene.run()


def test_keep_serves_on_until_the_user_stops_it() -> None:
    scene = Scene(COMPLETED, keep=True)
    looks = iter(range(100))
    wait = scene.stop.wait

    def wait_a_while(seconds: float) -> bool:
        if next(looks) > 20:
            scene.stop.set()
        return wait(seconds)

    scene.stop.wait = wait_a_while  # type: ignore[method-assign]
    assert scene.run() == 0
    assert scene.line("serving on")
    assert not [line for line in scene.lines if "goes on from here" in line], "there is nothing to go on with"
