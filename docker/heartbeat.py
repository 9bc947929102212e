"""Whether a worker's heartbeat is fresh: the health check of containers that have no port of their own.

Usage: python /opt/heartbeat.py evaluator, or: python /opt/heartbeat.py trainer SLOT. Evaluators take their names when
they start, so the one that is asked about is the one of this host. A slot without an assignment, or with one whose
trainer has not reported yet, is well: the container's own end says what went wrong there. In an evaluator's turn it is
the evaluator in the slot that has to beat.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

SECONDS = 60.0

kind, *name = sys.argv[1:]
volume = Path(os.environ.get("TANDEM_VOLUME", "/volume"))
evaluators = volume / "evaluators"
here = [path for path in evaluators.glob("*/status.json") if json.loads(path.read_text())["host"] == platform.node()]
if kind == "evaluator":
    if not here:
        sys.exit(f"no evaluator of {platform.node()} in {evaluators} yet")
    status = max(here, key=lambda path: path.stat().st_mtime)
else:
    (name,) = name
    assignment = volume / "slots" / name / "assignment.json"
    if not assignment.exists():
        sys.exit(0)
    task = json.loads(assignment.read_text())
    status = volume / "runs" / task["run"] / "trainer" / "status.json"
    if task.get("task") == "evaluate":
        status = max([status, *here], key=lambda path: path.stat().st_mtime if path.exists() else 0.0)
    if not status.exists():
        sys.exit(0)
try:
    age = time.time() - status.stat().st_mtime
except FileNotFoundError:
    sys.exit(f"{status} is not there yet")
if age > SECONDS:
    sys.exit(f"{status} was last written {age:.0f} s ago")
