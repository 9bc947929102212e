"""What ONNX Runtime may not do behind everybody's back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = """
import os
from services.gateway.predict.models import _session
from tests.processes.constant_models import model
_session(model(3), threads=1)
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="its threads are counted in /proc")
def test_onnx_runtime_keeps_no_identity_and_no_events_of_this_machine_and_has_no_thread_to_send_them(
    tmp_path: Path,
) -> None:
    # An environment without signs of a test, in which it reports nothing anyway.
    bare = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    bare |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    ran = subprocess.run([sys.executable, "-c", USE], cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    assert list(tmp_path.rglob("*")) == []
    assert int(ran.stdout) == 1
