import os
import signal
import subprocess
import sys

import pytest

from shared.lifecycle import StopEvent


@pytest.fixture
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_first_signal_asks_and_a_second_one_exits_at_once():
    exits = []
    stop = StopEvent(exit_now=exits.append)
    stop.install()
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.wait(5)
    assert (stop.is_set(), stop.signal, exits) == (True, signal.SIGTERM, [])
    os.kill(os.getpid(), signal.SIGINT)
    assert exits == [128 + signal.SIGINT]


def test_waiting_ends_when_a_stop_is_asked_for_from_within():
    stop = StopEvent()
    assert not stop.wait(0)
    stop.set()
    assert stop.wait(60)


def test_f20_a_signal_is_handled_by_the_first_process_of_a_namespace():
    code = (
        "import os; from shared.lifecycle import StopEvent; stop = StopEvent(); stop.install();"
        "print(os.getpid(), flush=True); stop.wait(60); print('stopped', stop.is_set())"
    )
    try:
        subprocess.run(["unshare", "--fork", "--pid", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to make a process namespace")
    child = subprocess.Popen(
        ["unshare", "--fork", "--pid", "--kill-child", sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "1\n"
    children = subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout), signal.SIGTERM)
    assert child.communicate(timeout=20)[0] == "stopped True\n"
