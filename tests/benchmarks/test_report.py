import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, PAGE, RESULTS, page
from benchmarks.report import Report


def test_a_report_tells_which_goals_are_reached_and_on_what_machine(tmp_path: Path):
    output = tmp_path / "results" / "some.json"
    with Report("some", output) as report:
        report.add("a time", 3.0, "ms", at_most=10)
        report.add("a ratio", 1.24, "", at_least=1.3)
        report.add("a size", 7, "MB")
    record = json.loads(output.read_text())
    assert [figure["met"] for figure in record["figures"]] == [True, False, None]
    assert record["figures"][1]["goal"] == {"comparison": "at least", "value": 1.3}
    assert 0 <= record["idle"] <= 1 and record["machine"]["processor"] and record["machine"]["numpy"]


def test_a_benchmark_that_fails_leaves_no_report(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), Report("some", tmp_path / "some.json") as report:
        report.add("a ratio", 1 / 0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_page_shows_a_missed_goal_and_no_path_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["x", "--rounds", "2", "--data", "/some/where", "--output", "/x.json"])
    with Report("training", tmp_path / "training.json") as report:
        report.add("times", 1.24, "", at_least=1.3)
        report.add("rate", 12_345.6, "/s")
    record = json.loads((tmp_path / "training.json").read_text())
    text = page([record])
    assert "| rate | 12,346 /s |  |  |" in text
    assert "| times | 1.24 | at least 1.3 | **missed** |" in text
    assert "`python -m benchmarks.training --rounds 2 --data …`" in text
    assert "/some" not in str(record) and "/x.json" not in str(record)


def test_the_committed_page_is_made_of_the_committed_results():
    records = [RESULTS / f"{benchmark.name}.json" for benchmark in BENCHMARKS]
    made = page([json.loads(path.read_text()) for path in records if path.exists()])
    assert PAGE.read_text() == made
    assert not re.search(r"/(work|tmp|home|root)/", made)


def test_a_name_that_no_benchmark_has_is_refused(root: Path):
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks", "sped"], cwd=root, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "no benchmark is called sped; there are training, " in ran.stderr
