"""The ways of a run into each of its states, with a trainer that does what the test says."""

from collections.abc import Callable
from typing import Any


def queued(bench: Any) -> str:
    return str(bench.start())


def starting(bench: Any) -> str:
    run = bench.start()
    bench.step()
    return str(run)


def running(bench: Any) -> str:
    run = starting(bench)
    bench.report(run, "running")
    bench.checkpoint(run, 10)
    bench.step()
    return run


def leave(bench: Any, run: str, phase: str, **report: Any) -> str:
    """Its trainer says how it ends, and goes."""
    bench.report(run, phase, **report)
    bench.launcher.die("slot-0", 0)
    bench.step()
    return run


def evaluating(bench: Any) -> str:
    run = str(bench.start(sharing={"kind": "alternate", "every_steps": 10}))
    bench.step()
    bench.checkpoint(run, 10)
    return leave(bench, run, "yielded")


def restarting(bench: Any) -> str:
    run = running(bench)
    bench.launcher.die("slot-0", 1)
    bench.step()
    return run


def pausing(bench: Any) -> str:
    run = running(bench)
    bench.control.pause(run)
    return run


def paused(bench: Any) -> str:
    return leave(bench, pausing(bench), "released")


def stopping(bench: Any) -> str:
    run = running(bench)
    bench.control.stop(run)
    return run


def stopped(bench: Any) -> str:
    return leave(bench, stopping(bench), "stopped")


def completed(bench: Any) -> str:
    return leave(bench, running(bench), "completed", step=100)


def failed(bench: Any) -> str:
    run = running(bench)
    bench.launcher.die("slot-0", 2)
    bench.step()
    return run


WAYS: dict[str, Callable[[Any], str]] = {
    way.__name__: way
    for way in (
        queued,
        starting,
        running,
        evaluating,
        restarting,
        pausing,
        paused,
        stopping,
        stopped,
        completed,
        failed,
    )
}
