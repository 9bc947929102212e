"""A whole gateway on a free port, over a volume with runs of every state, whose trainers are none."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from services.gateway import server
from services.gateway.access.audit import Audit
from services.gateway.access.keyring import Keyring
from services.gateway.predict.settings import PredictSettings
from services.gateway.predict.wiring import Predicting
from services.gateway.web.wiring import make_router as page_router
from shared.keys import SCOPES, create_key
from shared.layout import listed_steps
from tests.gateway.conftest import Bench
from tests.web import showcase


@dataclass(frozen=True)
class Served:
    """Where it answers, a key that opens everything, the runs, and steps of which some of them have something."""

    url: str
    key: str
    runs: list[str]
    steps: list[int]


@contextlib.contextmanager
def served(root: Path) -> Iterator[Served]:
    """A gateway. Its streams end as soon as they have told what there is."""
    runs = showcase.write(root / "volume", now=time.time())
    bench = Bench(root)
    steps = sorted({step for run in runs for step in listed_steps(bench.volume.run(run).checkpoints)})
    for seed in range(3):
        bench.start(seed=seed)
    bench.step()
    predicting = Predicting(
        settings=PredictSettings(), volume=bench.volume, registry=bench.registry, tell=bench.journal.note
    )
    bench.parts = dataclasses.replace(bench.parts, predictor=predicting.predictor)
    key = create_key(root / "keys.json", name="tester", scopes=SCOPES, clock=time.time)
    app = bench.app(
        routers=[*predicting.routers(), page_router()],
        keyring=Keyring(root / "keys.json"),
        audit=Audit(path=root / "audit.jsonl", clock=time.time),
    )
    predicting.install(app)
    app.openapi()
    predicting.start()
    bench.streams.hub.close()
    listener = server.bind("127.0.0.1", 0)
    running = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    stop = threading.Event()
    threads = [
        threading.Thread(target=running.run, args=([listener],)),
        threading.Thread(target=_step, args=(bench, stop)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield Served(url=server.address(listener), key=key, runs=runs, steps=steps)
    finally:
        stop.set()
        running.should_exit = True
        for thread in threads:
            thread.join()
        predicting.stop()


def _step(bench: Bench, stop: threading.Event) -> None:
    while not stop.wait(0.1):
        bench.step(seconds=1)
