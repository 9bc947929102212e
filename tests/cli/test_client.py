"""The client turns answers into values, and errors of the gateway into the classes that have their codes."""

import httpx
import pytest

from services.cli.client import GatewayError, connect
from shared.errors import ConflictError, ImageError, NotFoundError, SpecError, UnavailableError
from tests.cli.fake_gateway import FakeGateway, error_response, run_view, verdict

RUN = "20260102-030405-shapes-0a1b"


def test_start_sends_recipe_and_changes_and_gives_the_run() -> None:
    gateway = FakeGateway({("POST", "/v1/runs"): httpx.Response(201, json=run_view(state="queued", step=0))})
    run = gateway.client().start_run(recipe="shapes", spec={"steps": 300})
    assert gateway.sent() == {"recipe": "shapes", "spec": {"steps": 300}}
    assert (run.id, run.state, run.steps, run.finished) == (RUN, "queued", 300, False)


def test_stop_posts_to_the_runs_stop_verb() -> None:
    gateway = FakeGateway({("POST", f"/v1/runs/{RUN}:stop"): httpx.Response(202, json=run_view(state="stopping"))})
    assert gateway.client().stop_run(RUN).state == "stopping"


def test_run_carries_best_and_latest_figures() -> None:
    best = {"step": 100, "weights": "ema", "decay": 0.9999, "precision_at_1": 0.61, "interval": [0.59, 0.63]}
    gateway = FakeGateway({("GET", "/v1/runs"): {"runs": [run_view(best=best, latest=[verdict(100, "raw", 0.58)])]}})
    (run,) = gateway.client().runs()
    assert run.best is not None and run.best.precision_at_1 == 0.61 and run.best.kind == "ema-0.9999"
    assert run.latest is not None and run.latest[0].kind == "raw"


def test_models_say_which_weights_answer() -> None:
    best = {"model": "best", "run": RUN, "step": 100, "weights": "ema", "decay": 0.9999, "precision_at_1": 0.61}
    gateway = FakeGateway({("GET", "/v1/models"): {"models": [best | {"classes": ["ring"], "loaded": True}]}})
    (model,) = gateway.client().models()
    assert (model.model, model.run, model.step, model.weights, model.classes) == ("best", RUN, 100, "ema", ("ring",))


def test_series_asks_for_so_many_points_and_keeps_gaps() -> None:
    columns = {"run": RUN, "step": [10, 20], "loss": [2.3, None], "time": [1.0, 2.0]}
    gateway = FakeGateway({("GET", f"/v1/runs/{RUN}/series"): columns})
    series = gateway.client().series(RUN, points=100)
    assert gateway.requests[-1].url.params["points"] == "100"
    assert (series.step, series.loss) == ((10, 20), (2.3, None))


def test_classify_sends_the_bytes_as_they_are() -> None:
    answer = {
        "model": "best",
        "run": RUN,
        "step": 100,
        "weights": "ema",
        "decay": 0.9999,
        "precision_at_1": 0.6,
        "predictions": [{"classes": [{"label": "ring", "probability": 0.9}]}],
    }
    gateway = FakeGateway({("POST", "/v1/models/best:classify"): answer})
    result = gateway.client().classify(b"\x89PNG", top=1)
    request = gateway.requests[-1]
    assert (request.content, request.headers["content-type"], request.url.params["top"]) == (
        b"\x89PNG",
        "image/png",
        "1",
    )
    assert result.predictions[0].classes[0].label == "ring"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "bad_spec", SpecError),
        (400, "bad_image", ImageError),
        (404, "not_found", NotFoundError),
        (409, "conflict", ConflictError),
        (503, "unavailable", UnavailableError),
        (500, "a-code-of-a-later-release", GatewayError),
    ],
)
def test_error_of_the_gateway_comes_back_as_its_class(status: int, code: str, kind: type[Exception]) -> None:
    answer = error_response(status, code, "a negative step", where="steps", hint="Take a positive one")
    with pytest.raises(kind, match=r"^steps: a negative step\. Take a positive one$"):
        FakeGateway({("GET", "/v1/runs"): answer}).client().runs()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad gateway</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(200, text="hello"),
        httpx.Response(200, json=["no", "runs"]),
        httpx.Response(200, json={"runs": [{"id": 1}]}),
    ],
)
def test_what_is_no_gateway_is_told_apart(answer: httpx.Response) -> None:
    with pytest.raises(GatewayError):
        FakeGateway({("GET", "/v1/runs"): answer}).client().runs()


def test_nobody_at_the_address_says_which_address_and_how_to_start_one() -> None:
    client = FakeGateway({("GET", "/v1/runs"): httpx.ConnectError("Connection refused")}).client()
    with pytest.raises(UnavailableError, match=r"http://gateway\.test: no gateway answers.*tandem up.*TANDEM_URL"):
        client.runs()


def test_silence_is_told_apart_from_absence() -> None:
    client = FakeGateway({("GET", "/v1/runs"): httpx.ReadTimeout("slow")}).client()
    with pytest.raises(UnavailableError, match="did not answer in time"):
        client.runs()


def test_names_cannot_escape_their_place_in_the_path() -> None:
    gateway = FakeGateway()
    with pytest.raises(NotFoundError):
        gateway.client().run("../../metrics?x=1")
    assert gateway.requests[-1].url.raw_path == b"/v1/runs/..%2F..%2Fmetrics%3Fx%3D1"


def test_ready_is_false_where_nobody_listens() -> None:
    with connect("http://127.0.0.1:9", timeout=1) as client:
        assert not client.ready()
