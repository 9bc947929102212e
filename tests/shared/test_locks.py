import os
import select
import subprocess
import sys
import threading
from pathlib import Path

from shared.locks import exclusive_lock

HOLDER = """
import sys
from pathlib import Path
from shared.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_one_waits_until_the_first_lets_go(tmp_path: Path):
    entered = threading.Event()

    def second() -> None:
        with exclusive_lock(tmp_path / "deep" / "lock"):
            entered.set()

    thread = threading.Thread(target=second)
    with exclusive_lock(tmp_path / "deep" / "lock"):
        thread.start()
        assert not entered.wait(0.1)
    assert entered.wait(10)
    thread.join()


def test_lock_of_a_killed_process_is_free(tmp_path: Path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert select.select([holder.stdout], [], [], 30)[0] and holder.stdout.readline() == b"held\n"
        holder.kill()
        holder.wait(10)
        with exclusive_lock(tmp_path / "lock"):
            pass
