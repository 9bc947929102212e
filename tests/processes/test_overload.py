"""A gateway's process under ten times as much as it can answer."""

import asyncio
import math
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.processes.serving import PATH, PATIENCE, Gateway, png, serving, until

OVERLOAD, CLIENTS = 10, 20
ANSWERS, ROUNDS = 100, 6
CROWD, CROWD_ANSWERS = 512, 2_000
RECOVERY_SECONDS = 2.0


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose model takes its time, and in which one picture may wait."""
    one_at_a_time = {f"TANDEM_PREDICT_{name}": "1" for name in ("MAX_WAITING", "WORKERS", "THREADS")}
    with serving(tmp_path, channels=64, **one_at_a_time) as made:
        yield made


class Line:
    """One connection, on which one request follows the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self) -> tuple[int, float]:
        """Returns the status and the seconds it took."""
        body = png()
        began = time.monotonic()
        self.writer.write(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        said = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        await self.reader.readexactly(int(said.partition(b"content-length:")[2].split()[0]))
        return int(said.split()[1]), time.monotonic() - began


@asynccontextmanager
async def line(gateway: Gateway) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@dataclass
class Round:
    """Seconds that answers took: one after the other, then under ten times as much as can be answered."""

    idle: list[float]
    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    afterwards: list[float] = field(default_factory=list)

    def ratios(self) -> tuple[float, float, float]:
        """Of the slowest percent of what was taken, of what was refused, and of the first answers afterwards."""
        idle = quantile(self.idle, 0.99)
        return quantile(self.taken, 0.99) / idle, quantile(self.refused, 0.5) / idle, max(self.afterwards) / idle


def quantile(seconds: list[float], share: float) -> float:
    return sorted(seconds)[math.ceil(share * len(seconds)) - 1]


async def one_round(gateway: Gateway) -> Round:
    async def answered(count: int) -> list[float]:
        async with line(gateway) as client:
            answers = [await client.ask() for _ in range(count)]
        assert {status for status, _ in answers} == {200}
        return [seconds for _, seconds in answers]

    measured = Round(idle=await answered(ANSWERS))
    pause = CLIENTS * quantile(measured.idle, 0.5) / OVERLOAD

    async def flood() -> None:
        async with line(gateway) as client:
            while len(measured.taken) < ANSWERS:
                status, seconds = await client.ask()
                assert status in (200, 429)
                (measured.taken if status == 200 else measured.refused).append(seconds)
                await asyncio.sleep(pause)

    await asyncio.gather(*(flood() for _ in range(CLIENTS)))
    assert measured.refused, "as much as ten times too much is taken"
    measured.afterwards = await answered(5)
    return measured


@pytest.mark.alone
def test_f39_f45_overload_is_refused_at_once_slows_what_is_taken_threefold_at_most_and_is_over_with_its_cause(
    narrow: Gateway,
) -> None:
    done = threading.Event()
    counts: list[float] = []

    def scrape() -> None:
        while not done.wait(0.05):
            with urllib.request.urlopen(f"http://127.0.0.1:{narrow.port}/metrics", timeout=PATIENCE) as answer:
                lines = answer.read().decode().splitlines()
            counts.append(sum(float(line.split()[-1]) for line in lines if line.startswith("tandem_predict_requests_")))

    thread = threading.Thread(target=scrape)
    thread.start()
    rounds: list[tuple[float, float, float]] = []
    try:
        # Both are measured in turns. Whatever else the machine does can only make a ratio greater, so one round within
        # the limits shows that the gateway keeps them; a queue of eight instead of one was at 3.8 and 7.4.
        while len(rounds) < ROUNDS and not (rounds and kept(rounds[-1])):
            rounds.append(asyncio.run(one_round(narrow)).ratios())
    finally:
        done.set()
        thread.join()
    assert kept(rounds[-1]), f"taken, refused and afterwards, to the slowest percent when idle: {rounds}"
    assert len(counts) > 3
    assert counts == sorted(counts)


def kept(ratios: tuple[float, float, float]) -> bool:
    taken, refused, afterwards = ratios
    return taken <= 3 and refused <= 1 and afterwards <= 3


def test_f39_five_hundred_clients_that_never_pause_are_all_answered_and_leave_nothing_behind(narrow: Gateway) -> None:
    before, sockets = narrow.memory(), narrow.sockets()
    statuses: list[Counter[int]] = [Counter() for _ in range(CROWD)]
    waiting: list[float] = []

    async def insist(seen: Counter[int]) -> None:
        async with line(narrow) as client:
            while not seen or sum(each.total() for each in statuses) < CROWD_ANSWERS:
                status, _ = await client.ask()
                seen[status] += 1

    async def look() -> None:
        while sum(each.total() for each in statuses) < CROWD_ANSWERS:
            waiting.append(await asyncio.to_thread(narrow.metric, "tandem_predict_waiting_images"))

    async def story() -> list[tuple[int, float]]:
        await asyncio.wait_for(asyncio.gather(look(), *(insist(seen) for seen in statuses)), PATIENCE)
        async with line(narrow) as client:
            return [await client.ask() for _ in range(5)]

    afterwards = asyncio.run(story())
    total = sum(statuses, Counter())
    assert total.keys() == {200, 429}, total
    assert total[429] > total[200] > 5, total
    assert all(statuses), "somebody was never answered"
    assert waiting
    assert max(waiting) <= 1, "the queue is bounded, whoever asks"
    assert {status for status, _ in afterwards} == {200}
    assert sum(seconds for _, seconds in afterwards) < RECOVERY_SECONDS
    until(lambda: narrow.sockets() <= sockets)
    assert narrow.memory() - before < 20 * 2**20
