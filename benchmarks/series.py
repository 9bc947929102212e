"""How long a curve of a long run takes: `python -m benchmarks.series`.

A real gateway is asked over HTTP for the series of a run with 100,000 lines, as 1,000,000 steps make them: first after
its start, when the whole file is to be read; then again and again, each time with a line appended in between. Printed
in milliseconds, with how much of the machine others used: on a busy one, look at the least.
"""

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.machine import LoadLog, describe
from benchmarks.report import Report, add_output
from shared.layout import RunFolder, Volume
from shared.records import LineWriter, SeriesPoint, write_record
from shared.spec import DatasetSpec, RunSpec

RUN = "20260101-000000-long-0001"
INTERVAL = 10

AHEAD_SECONDS = 2.0


def point(step: int, noise: random.Random) -> SeriesPoint:
    """A point as a trainer writes it, with as many digits."""
    loss = 0.7 + 4 / (1 + step / 20_000) + noise.gauss(0, 0.1)
    return SeriesPoint(
        step=step,
        time=1_772_360_100 + step * 0.071234567,
        loss=loss,
        cross_entropy=loss - 0.3,
        average_loss=loss + 0.01,
        learning_rate=0.1,
        examples_per_second=1_800 + noise.gauss(0, 20),
    )


def make_run(volume: Volume, *, lines: int) -> RunFolder:
    """A run by hand with so many lines in its series."""
    folder = volume.run(RUN)
    write_record(folder.spec, RunSpec(name="long", dataset=DatasetSpec(kind="shapes")))
    noise = random.Random(0)  # nosec B311 # the same noise each time
    text = "".join(f"{point(INTERVAL * line, noise).model_dump_json()}\n" for line in range(1, lines + 1))
    folder.series.parent.mkdir(parents=True)
    folder.series.write_text(text)
    return folder


def measure(url: str, folder: RunFolder, *, lines: int, asked: int, points: int) -> tuple[float, list[float]]:
    """Seconds of the first answer, and of each of the others."""
    writer, noise = LineWriter(folder.series), random.Random(1)  # nosec B311 # the same noise each time
    times = []
    with httpx.Client(base_url=url, timeout=60) as client:
        for request in range(1, asked + 2):
            began = time.perf_counter()
            answer = client.get(f"/v1/runs/{RUN}/series", params={"points": points})
            times.append(time.perf_counter() - began)
            answer.raise_for_status()
            writer.append(point(INTERVAL * (lines + request), noise))
    writer.close()
    return times[0], times[1:]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.series")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--points", type=int, default=1_000, help="asked for in each request")
    parser.add_argument("--requests", type=int, default=200)
    add_output(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, Report("series", given.output) as report:
        folder = make_run(Volume(Path(root) / "volume"), lines=given.lines)
        command = [sys.executable, "-m", "services.gateway", "--volume", str(Path(root) / "volume"), "--port", "0"]
        gateway = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        try:
            found = re.search(r"(http://\S+)/docs", (gateway.stdout and gateway.stdout.readline()) or "")
            if found is None:
                raise SystemExit("the gateway did not start")
            time.sleep(AHEAD_SECONDS)  # it reads ahead what was written last
            with LoadLog() as log:
                log.watch(gateway.pid)
                began = time.time()
                first, others = measure(
                    found.group(1), folder, lines=given.lines, asked=given.requests, points=given.points
                )
                load = log.during(began, time.time())
        finally:
            gateway.terminate()
            gateway.wait()
        megabytes = folder.series.stat().st_size / 1e6
        cuts = statistics.quantiles(others, n=20)
        report.add(f"a curve of {given.lines:,} points, median", 1e3 * statistics.median(others), "ms", at_most=50)
        report.add("… of 95% of the answers", 1e3 * cuts[-1], "ms")
        report.add(f"… the first one, {AHEAD_SECONDS:g} s after the gateway's start", 1e3 * first, "ms", at_most=50)
    print(f"{given.lines} lines ({megabytes:.1f} MB), {given.points} points asked for")
    print(f"first answer, {AHEAD_SECONDS:g} s after the start: {1000 * first:.1f} ms")
    print(
        f"then, of {len(others)}: least {1000 * min(others):.1f} ms, median {1000 * statistics.median(others):.1f} ms, "
        f"95% within {1000 * cuts[-1]:.1f} ms"
    )
    print(f"others used {load.others:.0%} of the machine; {describe()}")


if __name__ == "__main__":
    main()
