import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from evaluator_parts import Clock, Evaluator, RunMaker

from shared.layout import Volume
from shared.records import Verdict, read_record


@pytest.fixture
def volume(tmp_path):
    return Volume(tmp_path)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runs(volume):
    return RunMaker(volume)


@pytest.fixture
def evaluator(volume, clock):
    return Evaluator(volume, clock=clock)


@pytest.fixture
def make_evaluator(volume, clock):
    return lambda **options: Evaluator(volume, **{"clock": clock, **options})


@pytest.fixture
def verdict():
    return lambda folder, step, kind: read_record(folder.verdict(step, kind), Verdict)
