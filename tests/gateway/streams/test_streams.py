"""Server-sent events over the application: what comes, in which order, and what a client that comes back gets."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from services.gateway.streams.position import parse_position
from shared.layout import RunFolder
from shared.records import Event, LineWriter, SeriesPoint, Verdict, write_record
from tests.gateway.streams.listening import Listener, listen


def append(path: Path, record: Any) -> None:
    writer = LineWriter(path)
    writer.append(record)
    writer.close()


def log_line(path: Path, message: str, *, level: str = "info", time: float = 1.0, **values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    service = values.pop("service", "trainer")
    with path.open("a") as file:
        file.write(json.dumps({"time": time, "level": level, "service": service, "message": message, **values}) + "\n")


def point(step: int, loss: float = 1.0) -> SeriesPoint:
    return SeriesPoint(
        step=step,
        time=step,
        loss=loss,
        cross_entropy=loss,
        average_loss=loss,
        learning_rate=0.1,
        examples_per_second=9,
    )


def event(message: str, *, time: float = 1.0) -> Event:
    return Event(time=time, service="trainer", kind="checkpoint", message=message, step=3)


def judge(folder: RunFolder, step: int, precision: float) -> None:
    verdict = Verdict(run=folder.id, step=step, weights="ema", decay=0.9999, precision_at_1=precision, time=step)
    path = folder.verdict(step, "ema-0.9999")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_record(path, verdict)


def test_a_stream_begins_with_the_run_as_it_is_and_goes_on_with_what_happens(bench: Any) -> None:
    run = bench.start()
    append(bench.folder(run).series, point(1))
    shown = bench.client().get(f"/v1/runs/{run}").json()

    async def client() -> None:
        async with Listener(bench.app(), f"/v1/runs/{run}/stream") as listener:
            await listener.until(lambda: bool(listener.of("state")))
            assert listener.of("state")[0] == shown
            append(bench.folder(run).series, point(2, loss=float("nan")))
            append(bench.folder(run).trainer_events, event("saved"))
            await listener.until(lambda: bool(listener.of("series")) and bool(listener.of("event")))
            # The point that was there before is not sent: the client has asked for the series.
            assert [each["step"] for each in listener.of("series")] == [2]
            assert listener.of("series")[0]["loss"] is None
            assert listener.of("event")[-1]["message"] == "saved"
            bench.step()
            await listener.until(lambda: listener.of("state")[-1]["state"] == "starting")

    listen(client)


def test_a_client_that_comes_back_misses_nothing_and_gets_nothing_twice_even_from_the_next_gateway(bench: Any) -> None:
    run = bench.start()

    async def first() -> str:
        async with Listener(bench.app(), f"/v1/runs/{run}/stream", kinds="series,event") as listener:
            for step in range(5):
                append(bench.folder(run).series, point(step))
            await listener.until(lambda: len(listener.of("series")) == 5)
            return next(message.id for message in listener.messages if message.data and message.data["step"] == 2)

    async def second(last: str) -> None:
        async with Listener(bench.app(), f"/v1/runs/{run}/stream", last=last, kinds="series,event") as listener:
            await listener.until(lambda: len(listener.of("series")) >= 3 and len(listener.of("event")) >= 1)
            append(bench.folder(run).series, point(6))
            await listener.until(lambda: listener.of("series")[-1]["step"] == 6)
            assert [each["step"] for each in listener.of("series")] == [3, 4, 5, 6]
            assert [each["message"] for each in listener.of("event")] == ["while nobody listened"]

    last = asyncio.run(first())
    append(bench.folder(run).series, point(5))
    append(bench.folder(run).trainer_events, event("while nobody listened"))
    bench.restart()
    asyncio.run(second(last))


def test_every_id_on_the_way_leads_to_exactly_what_followed_it(bench: Any) -> None:
    run = bench.start()
    folder = bench.folder(run)
    for step in range(4):
        append(folder.series, point(step))
        append(folder.trainer_events, event(f"event {step}", time=step))

    async def listened(last: str | None, count: int) -> Listener:
        after = {"after": "s:0,te:0,ge:0"} if last is None else {}
        path = f"/v1/runs/{run}/stream"
        async with Listener(bench.app(), path, last=last, kinds="series,event", **after) as listener:
            await listener.until(lambda: sum(1 for each in listener.messages if each.kind) >= count)
            return listener

    async def client() -> None:
        everything = [each for each in (await listened(None, 9)).messages if each.kind]
        for number, message in enumerate(everything[:-1]):
            rest = await listened(message.id, len(everything) - number - 1)
            assert [(each.kind, each.data) for each in rest.messages if each.kind] == [
                (each.kind, each.data) for each in everything[number + 1 :]
            ]

    listen(client)


def test_the_state_is_not_repeated_to_a_client_that_knows_it(bench: Any) -> None:
    run = bench.start()

    async def client() -> None:
        path = f"/v1/runs/{run}/stream"
        async with Listener(bench.app(), path) as listener:
            await listener.until(lambda: bool(listener.of("state")))
        bench.restart()
        async with Listener(bench.app(), path, last=listener.last) as again:
            append(bench.folder(run).trainer_events, event("something else"))
            await again.until(lambda: bool(again.of("event")))
            assert again.of("state") == []

    listen(client)


def test_a_verdict_is_sent_to_the_run_and_to_all(bench: Any) -> None:
    run, other = bench.start(), bench.start()
    sent: list[dict[str, Any]] = []
    bench.follower.look()

    async def client() -> None:
        app = bench.app()
        async with (
            Listener(app, f"/v1/runs/{run}/stream", kinds="evaluation") as own,
            Listener(app, "/v1/stream") as every,
        ):
            judge(bench.folder(other), 3, 0.5)
            judge(bench.folder(run), 5, 0.25)
            bench.step()
            bench.follower.look()
            await own.until(lambda: bool(own.of("evaluation")))
            await every.until(lambda: len(every.of("evaluation")) == 2)
            assert [(each["run"], each["step"]) for each in own.of("evaluation")] == [(run, 5)]
            sent.append(own.of("evaluation")[0])
            await every.until(lambda: any(each["best"] for each in every.of("state") if each["id"] == run))

    listen(client)
    assert sent[0].items() >= bench.client().get(f"/v1/runs/{run}/evaluations").json()["evaluations"][0].items()


def test_whoever_listens_to_all_gets_the_runs_at_work_and_those_that_settled_while_it_was_away(bench: Any) -> None:
    done, working = bench.start(), bench.start()
    bench.step()
    bench.follower.look()

    async def first() -> str:
        async with Listener(bench.app(), "/v1/stream") as listener:
            await listener.until(lambda: len(listener.of("state")) == 2)
            assert {each["id"] for each in listener.of("state")} == {done, working}
            return listener.last

    async def second(last: str) -> None:
        async with Listener(bench.app(), "/v1/stream", last=last) as listener:
            await listener.until(lambda: len({each["id"] for each in listener.of("state")}) == 2)
            assert [each["state"] for each in listener.of("state") if each["id"] == done] == ["completed"]

    async def anew() -> None:
        async with Listener(bench.app(), "/v1/stream") as listener:
            await listener.until(lambda: bool(listener.of("state")))
            assert {each["id"] for each in listener.of("state")} == {working}

    last = asyncio.run(first())
    bench.report(done, "completed", step=100)
    bench.launcher.die("slot-0", 0)
    bench.step()
    bench.restart()
    bench.step()
    bench.follower.look()
    asyncio.run(second(last))
    bench.restart()
    bench.step()
    asyncio.run(anew())


def test_log_lines_are_filtered_by_level_service_and_run(bench: Any) -> None:
    run = bench.start()
    trainer, gateway = bench.folder(run).trainer_log, bench.volume.gateway / "log.jsonl"

    async def client() -> None:
        path = f"/v1/runs/{run}/stream"
        async with Listener(bench.app(), path, kinds="log", level="warning") as listener:
            log_line(trainer, "too quiet")
            log_line(gateway, "about another", level="error", service="gateway", run="other")
            log_line(gateway, "about this", level="error", service="gateway", run=run)
            log_line(trainer, "loud", level="warning")
            await listener.until(lambda: len(listener.of("log")) == 2)
            assert {each["message"] for each in listener.of("log")} == {"about this", "loud"}

    listen(client)


def test_a_stream_ends_when_the_gateway_stops_and_is_refused_when_too_many_are_open(bench: Any) -> None:
    run = bench.start()
    bench.streams.hub._most = 1

    async def client() -> None:
        app = bench.app()
        async with Listener(app, f"/v1/runs/{run}/stream") as listener:
            async with Listener(app, "/v1/stream") as refused:
                assert refused.status == 429
            bench.streams.hub.close()
            await listener.until(lambda: listener.ended)

    listen(client)


def test_listeners_are_forgotten_when_they_leave(bench: Any) -> None:
    run = bench.start()

    async def client() -> None:
        for _ in range(3):
            async with Listener(bench.app(), f"/v1/runs/{run}/stream"):
                assert bench.streams.hub.listeners == 1
        assert bench.streams.hub.listeners == 0

    listen(client)


def test_ten_listeners_cost_one_reading_of_each_line(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bench.start()
    path = bench.folder(run).series
    opened: list[Path] = []
    real = Path.open

    def counting(self: Path, *arguments: Any, **named: Any) -> Any:
        opened.extend([self] if self == path else [])
        return real(self, *arguments, **named)

    async def client() -> None:
        app = bench.app()
        listeners = [Listener(app, f"/v1/runs/{run}/stream", kinds="series") for _ in range(10)]
        for listener in listeners:
            await listener.__aenter__()
        monkeypatch.setattr(Path, "open", counting)
        for step in range(3):
            with real(path, "ab") as file:
                file.write(point(step).model_dump_json().encode() + b"\n")
            for listener in listeners:
                await listener.until(lambda listener=listener, step=step: len(listener.of("series")) == step + 1)
        for listener in listeners:
            await listener.__aexit__()

    path.parent.mkdir(parents=True)
    listen(client)
    assert len(opened) == 3


@pytest.mark.parametrize("query", ["kinds=all", "kinds=", "after=1", "after=s:-1", "after=s:1;f:2", "level=loud"])
def test_what_cannot_be_followed_is_refused(bench: Any, query: str) -> None:
    answer = bench.client().get(f"/v1/runs/{bench.start()}/stream?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"]["where"]


def test_a_stream_of_no_run_is_not_found(bench: Any) -> None:
    assert bench.client().get("/v1/runs/nothing/stream").status_code == 404


def test_events_are_listed_in_order_and_page_by_page(bench: Any) -> None:
    run = bench.start()
    for number in range(5):
        append(bench.folder(run).trainer_events, event(f"event {number}", time=number))
    client = bench.client()
    everything = client.get(f"/v1/runs/{run}/events").json()
    assert [each["message"] for each in everything["events"]] == [*(f"event {n}" for n in range(5)), "was asked for"]
    assert not everything["more"]
    assert client.get(f"/v1/runs/{run}/events", params={"limit": 2}).json()["more"]
    seen, after, more = [], "ge:0", True
    while more:
        page = client.get(f"/v1/runs/{run}/events", params={"after": after, "limit": 2}).json()
        seen += page["events"]
        after, more = page["cursor"], page["more"]
    assert seen == everything["events"]
    assert parse_position([after], where="") == parse_position([everything["cursor"]], where="")


def test_the_newest_lines_of_logs_are_listed_by_level_and_service(bench: Any) -> None:
    run = bench.start()
    trainer, gateway = bench.folder(run).trainer_log, bench.volume.gateway / "log.jsonl"
    for number in range(4):
        log_line(trainer, f"step {number}", time=number, step=number)
    log_line(trainer, "slow disk", level="warning", time=9, traceback="…")
    log_line(gateway, "started it", time=2.5, service="gateway", run=run)
    log_line(gateway, "started another", time=2.5, service="gateway", run="other")
    with trainer.open("a") as file:
        file.write("not json\n")

    def lines(**query: Any) -> list[str]:
        return [each["message"] for each in bench.client().get(f"/v1/runs/{run}/logs", params=query).json()["lines"]]

    assert lines() == ["step 0", "step 1", "step 2", "started it", "step 3", "slow disk"]
    assert lines(tail=2) == ["step 3", "slow disk"]
    assert lines(level="warning") == ["slow disk"]
    assert lines(service="gateway") == ["started it"]
    assert bench.client().get(f"/v1/runs/{run}/logs").json()["lines"][0]["details"] == {"step": 0}
