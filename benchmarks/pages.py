"""What open pages cost the gateway: its processor time while browsers follow runs that train.

    python -m benchmarks.pages [--pages 10] [--runs 5] [--seconds 30] [--output FILE]

Starts a gateway with a slot for each run, whose trainers keep the whole protocol at 20 steps a second and compute next
to nothing; judges each run every 10 s in the evaluator's place; opens the pages in Chromium, every second one on the
list of runs and the others on a run's own page; and reads from /proc what the gateway's process spent, without pages
and with them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.report import Report, add_output
from shared.layout import Volume
from shared.records import Verdict, write_record

LIMIT = 0.10
"""Of one core."""
TRAINER = "{python} -m tests.trainer.numpy_trainer --volume {volume} --slot {slot}"
ROOT = Path(__file__).resolve().parents[1]
JUDGED_EVERY = 10.0


@dataclass(frozen=True)
class Gateway:
    """A gateway whose slots all train."""

    url: str
    process: subprocess.Popen[str]
    volume: Volume
    runs: tuple[str, ...]

    def seconds(self) -> float:
        """What its process has spent so far, in user and kernel mode, without its trainers."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def judge(self) -> None:
        """Writes a verdict on each run's newest checkpoint, on both kinds of weights."""
        for run in self.runs:
            step = httpx.get(f"{self.url}/v1/runs/{run}").json()["checkpoint_step"]
            for kind in ("raw", "ema-0.9999") if step else ():
                verdict = Verdict(
                    run=run,
                    step=step,
                    weights="raw" if kind == "raw" else "ema",
                    decay=None if kind == "raw" else 0.9999,
                    examples=10_000,
                    precision_at_1=0.8,
                    interval=(0.79, 0.81),
                    precision_at_k=0.98,
                    loss=0.7,
                    seconds=2.0,
                    evaluator="evaluator-0",
                    time=time.time(),
                    confusion=((4_000, 1_000), (1_000, 4_000)),
                )
                write_record(self.volume.run(run).verdict(step, kind), verdict)

    def share(self, seconds: float) -> float:
        """The share of a core that it takes over so many seconds."""
        began, spent = time.monotonic(), self.seconds()
        judged = began
        while (now := time.monotonic()) < began + seconds:
            if now >= judged:
                self.judge()
                judged += JUDGED_EVERY
            time.sleep(0.5)
        return (self.seconds() - spent) / (time.monotonic() - began)


def main() -> int:
    """Runs the benchmark. Returns 1 if the limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    add_output(parser)
    given = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("This needs Chromium; Debian's package is called chromium", file=sys.stderr)
        return 2
    with (
        Report("pages", given.output) as report,
        tempfile.TemporaryDirectory() as folder,
        training(Path(folder) / "volume", given.runs) as gateway,
    ):
        alone = gateway.share(given.seconds / 2)
        print(f"{given.runs} runs, no page: {alone:.1%} of a core")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
            pages = [opened(browser, gateway, number) for number in range(given.pages)]
            before = [page.inner_text("main") for page in pages]
            watched = gateway.share(given.seconds)
            fresh = sum(page.inner_text("main") != text for page, text in zip(pages, before, strict=True))
            streaming = sum(page.locator("#link[data-link=live]").count() for page in pages)
            browser.close()
        report.add(f"of a core for a gateway of {given.runs} runs that train, without a page", 100 * alone, "%")
        report.add(f"… with {given.pages} pages open", 100 * watched, "%", at_most=100 * LIMIT)
        report.add("… of them those that showed newer figures at the end", fresh, "", at_least=given.pages)
    print(f"{given.runs} runs, {given.pages} pages: {watched:.1%} of a core")
    print(f"{streaming} pages follow by streams, {fresh} show newer figures than before")
    return 0 if watched <= LIMIT else 1


def opened(browser: Browser, gateway: Gateway, number: int) -> Page:
    """A page in a window of its own, so that none counts as hidden."""
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(60_000)
    place = "" if number % 2 == 0 else f"runs/{gateway.runs[number // 2 % len(gateway.runs)]}"
    page.goto(f"{gateway.url}/#/{place}")
    page.wait_for_selector("#link[data-link=live]")
    return page


@contextmanager
def training(root: Path, runs: int) -> Iterator[Gateway]:
    """A gateway with as many runs at work, which end with it."""
    root.mkdir()
    command = [sys.executable, "-m", "services.gateway", "--volume", str(root), "--port", "0", "--slots", str(runs)]
    settings = {"TANDEM_GATEWAY_TRAINER_COMMAND": TRAINER, "SECONDS_PER_STEP": "0.05", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--stop-slots-on-exit"], stdout=subprocess.PIPE, text=True, env=os.environ | settings, cwd=ROOT
    )
    try:
        assert process.stdout is not None  # nosec B101 # says to mypy what PIPE means
        found = re.search(r"(http://\S+)/docs", process.stdout.readline())
        if found is None:
            raise RuntimeError("the gateway did not start")
        url = found.group(1)
        spec = {
            "steps": 1_000_000,
            "dataset": {"kind": "shapes"},
            "cadence": {"checkpoint_steps": 100, "log_steps": 10},
        }
        started = [
            httpx.post(f"{url}/v1/runs", json={"spec": {**spec, "name": f"watched-{number}"}}).json()["id"]
            for number in range(runs)
        ]
        while any(httpx.get(f"{url}/v1/runs/{run}").json()["state"] != "running" for run in started):
            time.sleep(0.5)
        yield Gateway(url=url, process=process, volume=Volume(root), runs=tuple(started))
    finally:
        process.terminate()
        process.communicate(timeout=120)


if __name__ == "__main__":
    sys.exit(main())
