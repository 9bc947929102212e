"""How long a step takes in each precision, and compiled by XLA: `python -m benchmarks.precision`.

Every variant is built and compiled first, then they take turns, round by round, so that what else the machine does
falls on all of them. Pictures are random: the time of a step does not depend on them.
"""

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks import engines
from benchmarks.report import Report, add_output
from shared.devices import prepare_tensorflow
from shared.spec import parse_spec

NETWORKS: dict[str, dict[str, Any]] = {
    "tutorial": {"batch_size": 128},
    "resnet-small": {
        "batch_size": 256,
        "augment": {"crop": None, "pad": 2, "brightness": 0, "contrast": None},
        "model": {"name": "resnet-small", "options": {"width": 16}},
        "optimizer": {"momentum": 0.9, "nesterov": True},
    },
}
VARIANTS: dict[str, dict[str, Any]] = {
    "float32": {},
    "mixed_bfloat16": {"precision": "mixed_bfloat16"},
    "mixed_float16": {"precision": "mixed_float16"},
    "xla": {"xla": True},
    "mixed_bfloat16 and xla": {"precision": "mixed_bfloat16", "xla": True},
}


def main() -> None:
    """Prints the median time of a step of every variant, and how many times as fast as float32 that is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="tutorial")
    parser.add_argument("--variants", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="of each variant in a round")
    add_output(parser)
    options = parser.parse_args()
    prepare_tensorflow(os.environ, device="auto")
    with Report("precision", options.output) as report:
        measure(report, options.network, options.variants, rounds=options.rounds, steps=options.steps)


def measure(report: Report, network: str, variants: Sequence[str], *, rounds: int, steps: int) -> None:
    """Times the variants of one network in turns, and prints what came out."""
    built, times = {}, {}
    for name in ("float32", *(each for each in variants if each != "float32")):
        spec = parse_spec({**NETWORKS[network], **VARIANTS[name]}, source=name)
        built[name] = engines.build(spec)
        times[name] = list[float]()
    size = NETWORKS[network]["batch_size"]
    noise = engines.noise(0, size=size)

    def seconds(name: str, count: int) -> float:
        engine, started = built[name], time.perf_counter()
        engine.train([replace(noise, step=engine.step + number) for number in range(count)])
        engine.losses()  # waits for the device
        return (time.perf_counter() - started) / count

    for name in built:
        seconds(name, 2)
    for _ in range(rounds):
        for name, found in times.items():
            found.append(seconds(name, steps))
    numerics = built["float32"].numerics
    print(
        ", ".join(f"{key} {numerics[key]}" for key in ("devices", "processor_features", "onednn", "intra_op_threads"))
    )
    base = statistics.median(times["float32"])
    for name, found in times.items():
        median = statistics.median(found)
        if name != "float32":
            report.add(f"a step of the {network} network in {name}: as fast as in float32", base / median, "")
        print(f"{network}, batch {size}, {name}: {median * 1e3:.1f} ms, {base / median:.2f} times as fast as float32")


if __name__ == "__main__":
    main()
