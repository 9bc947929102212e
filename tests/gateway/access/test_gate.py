"""Nobody gets through without the key that a route asks for, whatever else is wrong with the request."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry

from services.gateway.access.audit import Audit
from services.gateway.access.keyring import Keyring
from services.gateway.access.scopes import DOCUMENTS, declared, needs
from services.gateway.errors import speaks_plainly
from services.gateway.predict.settings import PredictSettings
from services.gateway.predict.wiring import Predicting
from services.gateway.web.wiring import make_router as page_router
from shared.keys import SCOPES, Scope, create_key, revoke_key

OPEN = {"/", "/docs", "/web/{path}", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
PREDICTS = (":classify", ":predict", "/infer")
ASKING = {"/v1/specs:check"}
"""Posted, since they take a body, but change nothing."""


class Locked:
    """A gateway that asks for keys."""

    def __init__(self, bench: Any, folder: Path) -> None:
        self.bench = bench
        self.file = folder / "keys.json"
        self.audit = folder / "audit.jsonl"
        self.keys: dict[str, str] = {}
        self.key("all", *SCOPES)
        self.slow = APIRouter()
        self.endless = True

        @self.slow.get("/v1/slow")
        @needs("read")
        async def slow() -> StreamingResponse:
            return StreamingResponse(self.lines(), media_type="text/event-stream")

        predicting = Predicting(
            settings=PredictSettings(), volume=bench.volume, registry=CollectorRegistry(), tell=lambda *_, **__: None
        )
        self.app = bench.app(
            routers=[*predicting.routers(), page_router(), self.slow],
            keyring=Keyring(self.file),
            audit=Audit(path=self.audit, clock=lambda: bench.epoch),
        )
        predicting.install(self.app)
        self.client = bench.client_of(self.app)

    async def lines(self) -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b"data: x\n\n"
            await asyncio.sleep(0)
            if self.endless:
                revoke_key(self.file, "leaver")
                self.endless = False

    def key(self, name: str, *scopes: Scope) -> str:
        self.keys[name] = create_key(self.file, name=name, scopes=scopes, clock=lambda: 0.0)
        return self.keys[name]

    def ask(self, key: str | None, method: str, path: str, **arguments: Any) -> Any:
        headers = {} if key is None else {"authorization": f"Bearer {self.keys.get(key, key)}"}
        return self.client.request(method, path, headers=headers, **arguments)

    def lines_of_audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text().splitlines()] if self.audit.exists() else []


@pytest.fixture
def locked(bench: Any, tmp_path: Path) -> Iterator[Locked]:
    yield Locked(bench, tmp_path)


def routes(app: Any) -> Iterator[tuple[str, str, Any]]:
    for route in iter_route_contexts(app.routes):
        for method in route.methods or ():
            yield method, route.path_format or "", route.endpoint


def filled(path: str) -> str:
    return (
        path.replace("{transition}", "stop")
        .replace("{step}", "100")
        .replace("{weights}", "ema")
        .replace("{run}", "nothing")
        .replace("{model}", "nothing")
        .replace("{version}", "100")
        .replace("{label}", "best")
    )


def test_every_route_says_which_scope_it_needs_or_that_it_needs_none(locked: Locked) -> None:
    seen = list(routes(locked.app))
    undeclared = [path for _, path, endpoint in seen if path not in DOCUMENTS and declared(endpoint) is None]
    assert undeclared == []
    assert len(seen) > 25
    for method, path, endpoint in seen:
        need = declared(endpoint)
        if need is None:
            continue
        if not need.scopes:
            assert path in OPEN, f"{path} is open to everybody: is that meant?"
        elif method == "GET" or path in ASKING:
            assert "control" not in need.scopes, path
        elif path.endswith(PREDICTS):
            assert need.scopes == ("predict",), path
        else:
            assert need.scopes == ("control",), path
            assert need.what, f"{path} does not say what it does, for the audit"


def problem(answer: Any, path: str) -> dict[str, Any]:
    """The error in an answer, whose shape is that of the protocol that the path belongs to."""
    body = answer.json()
    if speaks_plainly(path):
        assert isinstance(body.pop("error"), str)
    else:
        body = body["error"]
    assert list(body) == ["code", "message", "where", "hint"]
    return body


def test_f41_every_route_answers_401_without_a_key_and_403_without_its_scope(locked: Locked) -> None:
    for scope in SCOPES:
        locked.key(scope, scope)
    for method, path, endpoint in routes(locked.app):
        need = declared(endpoint)
        if need is None or not need.scopes or path == "/v1/slow" or path.endswith("stream"):
            continue
        where = filled(path)
        answer = locked.ask(None, method, where, content=b"{")  # of which nothing is looked at
        assert answer.status_code == 401, where
        assert answer.headers["www-authenticate"] == "Bearer"
        assert problem(answer, where)["code"] == "unauthenticated"
        for scope in SCOPES:
            answer = locked.ask(scope, method, where)
            assert (answer.status_code == 403) == (scope not in need.scopes), (where, scope, answer.status_code)
            if answer.status_code == 403:
                assert problem(answer, where)["code"] == "forbidden"


def test_a_route_that_declares_nothing_is_closed_to_all_but_control(bench: Any, tmp_path: Path) -> None:
    forgetful = APIRouter()

    @forgetful.get("/v1/forgotten")
    def forgotten() -> str:
        return "secret"

    keys = {scope: create_key(tmp_path / "keys", name=scope, scopes=(scope,), clock=lambda: 0.0) for scope in SCOPES}
    client = bench.client(routers=[forgetful], keyring=Keyring(tmp_path / "keys"))
    statuses = {
        scope: client.get("/v1/forgotten", headers={"authorization": f"Bearer {key}"}).status_code
        for scope, key in keys.items()
    }
    assert statuses == {"read": 403, "predict": 403, "control": 200}


def test_health_metrics_and_the_description_of_the_api_are_open(locked: Locked) -> None:
    for path in sorted(OPEN | DOCUMENTS):
        status = locked.ask(None, "GET", path.replace("{path}", "main.js")).status_code
        assert status == (400 if path == "/v2/health/ready" else 200), path  # nothing was judged here


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer tandem_wrong", "Bearer \xe9", "tandem_x", "Bearer " + "x" * 9_000],
)
def test_f41_what_is_no_known_key_is_401(locked: Locked, header: str) -> None:
    answer = locked.client.get("/v1/runs", headers={"authorization": header.encode("latin-1")})
    assert answer.status_code == 401
    assert "tandem_wrong" not in answer.text


def test_two_keys_at_once_are_refused(locked: Locked) -> None:
    header = ("authorization", f"Bearer {locked.keys['all']}")
    assert locked.client.get("/v1/runs", headers=[header]).status_code == 200
    assert locked.client.get("/v1/runs", headers=[header, header]).status_code == 401


def test_nothing_of_a_body_is_read_before_the_key_is_known(locked: Locked) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        taken += 1
        yield b"{"

    answer = locked.client.post("/v1/runs", content=body())
    assert (answer.status_code, taken) == (401, 0)


def test_a_revoked_key_opens_nothing_any_more_and_a_new_one_does_at_once(locked: Locked) -> None:
    locked.key("ci", "read")
    assert locked.ask("ci", "GET", "/v1/runs").status_code == 200
    revoke_key(locked.file, "ci")
    assert locked.ask("ci", "GET", "/v1/runs").status_code == 401
    locked.key("ci", "read")
    assert locked.ask("ci", "GET", "/v1/runs").status_code == 200


def test_a_stream_ends_when_its_key_is_revoked(locked: Locked, caplog: pytest.LogCaptureFixture) -> None:
    locked.key("leaver", "read")
    answer = locked.ask("leaver", "GET", "/v1/slow")
    assert answer.status_code == 200
    assert 1 <= answer.text.count("data") < 5
    assert not caplog.records
    assert locked.ask("all", "GET", "/v1/slow").text.count("data") == 50


@pytest.mark.parametrize("damage", ["gone", "no json", "writable by anybody"])
def test_f41_nobody_is_let_in_while_the_key_file_cannot_be_used(
    locked: Locked, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = locked.file.read_text()
    if damage == "gone":
        locked.file.unlink()
    elif damage == "no json":
        locked.file.write_text("{")
    else:
        locked.file.chmod(0o666)
    for _ in range(3):
        answer = locked.ask("all", "GET", "/v1/runs")
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
    assert len(caplog.records) == 1
    assert locked.ask(None, "GET", "/livez").status_code == 200
    locked.file.unlink(missing_ok=True)
    locked.file.write_text(whole)
    assert locked.ask("all", "GET", "/v1/runs").status_code == 200


def test_every_control_call_is_written_down_with_who_what_run_and_result(locked: Locked) -> None:
    locked.key("reader", "read")
    run = locked.ask("all", "POST", "/v1/runs", json={"recipe": "tiny"}).json()["id"]
    locked.ask("all", "POST", f"/v1/runs/{run}:stop")
    locked.ask("all", "POST", "/v1/runs/nothing:kill")
    locked.ask("reader", "POST", f"/v1/runs/{run}:kill")
    locked.ask("all", "GET", f"/v1/runs/{run}")
    locked.ask("nobody", "POST", f"/v1/runs/{run}:kill")
    locked.ask("all", "POST", f"/v1/runs/{run}/checkpoints/100:pin")
    lines = locked.lines_of_audit()
    assert [(line["who"], line["what"], line["run"], line["status"]) for line in lines] == [
        ("all", "start", run, 201),
        ("all", "stop", run, 202),
        ("all", "kill", "nothing", 404),
        ("reader", "kill", run, 403),
        ("all", "pin", run, 404),
    ]
    assert lines[-1]["step"] == 100
    assert all(line["time"] and line["client"] for line in lines)
    assert not any(secret in locked.audit.read_text() for secret in locked.keys.values())


def test_a_call_on_many_runs_is_written_down_with_a_line_for_each(locked: Locked) -> None:
    runs = [
        locked.ask("all", "POST", "/v1/runs", json={"recipe": "tiny", "spec": {"seed": n}}).json()["id"] for n in (1, 2)
    ]
    locked.ask("all", "POST", "/v1/runs:stop", json={"runs": [*runs, "nothing"]})
    assert [(line["what"], line["run"], line["status"]) for line in locked.lines_of_audit()[2:]] == [
        ("stop", runs[0], 202),
        ("stop", runs[1], 202),
        ("stop", "nothing", 404),
    ]


def test_an_audit_that_cannot_be_written_keeps_nobody_from_steering(
    locked: Locked, caplog: pytest.LogCaptureFixture
) -> None:
    locked.audit.mkdir()
    assert locked.ask("all", "POST", "/v1/runs", json={"recipe": "tiny"}).status_code == 201
    (record,) = caplog.records
    assert "audit" in record.getMessage()


def test_without_a_key_file_nobody_is_asked_and_calls_are_written_down_all_the_same(bench: Any, tmp_path: Path) -> None:
    client = bench.client(audit=Audit(path=tmp_path / "audit.jsonl", clock=lambda: 0.0))
    assert client.post("/v1/runs", json={"recipe": "tiny"}).status_code == 201
    assert client.get("/v1/runs", headers={"authorization": "Bearer whatever"}).status_code == 200
    assert json.loads((tmp_path / "audit.jsonl").read_text())["who"] is None


def test_openapi_says_which_scope_opens_a_route_and_how_it_refuses(locked: Locked) -> None:
    schema = locked.app.openapi()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    stop = schema["paths"]["/v1/runs/{run}:stop"]["post"]
    assert stop["security"] == [{"key": ["control"]}]
    for status in ("401", "403", "503"):
        assert stop["responses"][status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
    assert "security" not in schema["paths"]["/livez"]["get"]


def test_a_request_that_is_refused_is_counted_by_the_route_that_it_asked_for(locked: Locked) -> None:
    locked.ask(None, "GET", "/v1/runs/20260101-000000-a-0000")
    text = locked.ask(None, "GET", "/metrics").text
    assert 'tandem_gateway_requests_total{code="401",method="GET",route="/v1/runs/{run}"} 1.0' in text


def test_a_refused_client_is_hung_up_on_if_it_may_have_much_left_to_send(locked: Locked) -> None:
    refused = locked.ask(None, "POST", "/v1/models/nothing:classify", content=bytes(100_000))
    assert (refused.status_code, refused.headers["connection"]) == (401, "close")
    short = locked.ask(None, "POST", "/v1/models/nothing:classify", content=bytes(1_000))
    assert short.status_code == 401
    assert "connection" not in short.headers
    read = locked.ask("all", "POST", "/v1/specs:check", content=b" " * 100_000 + b'{"spec": {}}')
    assert "connection" not in read.headers
