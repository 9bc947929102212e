"""Asking a predictor for models, and having it move aliases, in tests in which nothing but the test drives it."""

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

from services.gateway.app import create_app
from shared.records import Aliases, read_record

A, B = "20260101-000000-a-0001", "20260102-000000-b-0002"


def points(serving: Any, run: str = A) -> dict[str, int]:
    """Where each alias of a run points, as the file says."""
    record = read_record(serving.models.volume.run(run).aliases, Aliases)
    return {name: entry.step for name, entry in record.aliases.items()}


async def answers(serving: Any, name: str, count: int = 1, **asked: Any) -> Counter[int]:
    """The steps that answer `count` requests."""
    found: Counter[int] = Counter()
    for _ in range(count):
        task = asyncio.ensure_future(serving.predictor.model(name, **asked))
        await asyncio.sleep(0)
        if not task.done():
            await asyncio.to_thread(serving.predictor.refresh)
        found[(await asyncio.wait_for(task, 10)).manifest.step] += 1
    return found


def asked(serving: Any, name: str, count: int = 1, **how: Any) -> dict[int, int]:
    return dict(asyncio.run(answers(serving, name, count, **how)))


def order(serving: Any, what: Any, run: str = A) -> None:
    async def ordered() -> None:
        predictor = serving.predictor
        task = asyncio.ensure_future(predictor.change(lambda promotion, catalog: what(promotion, catalog.run(run))))
        await asyncio.sleep(0)
        await asyncio.to_thread(predictor.refresh)
        await task

    asyncio.run(ordered())


def place(serving: Any, alias: str, step: int, run: str = A) -> None:
    order(serving, lambda promotion, at: promotion.place(at, alias, step=step, pinned=None, reason="by hand"), run)


def client_of(bench: Any, serving: Any) -> Any:
    """A client of the gateway's application over a classifier; both are at hand as its `app` and `serving`."""
    parts = replace(bench.parts, predictor=serving.predictor)
    app = create_app(parts, registry=bench.registry, routers=serving.routers())
    client = bench.client_of(app)
    client.app, client.serving = app, serving
    return client
