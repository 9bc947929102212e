"""Every row of the table of faults has a test that names it, and every promise leads to a test that exists."""

import re
from pathlib import Path

import pytest

ROWS = range(1, 51)
LINK = re.compile(r"\[`(\w+)`\]\(\.\./(tests/[\w/]+\.py)\)")


@pytest.fixture(scope="module")
def document(root: Path) -> str:
    return (root / "docs" / "reliability.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tests(root: Path, files: list[Path]) -> dict[str, set[str]]:
    """The names of all tests, without `test_`, and the files that they stand in."""
    found: dict[str, set[str]] = {}
    for path in files:
        if path.parts[0] == "tests" and path.name.startswith("test_"):
            for name in re.findall(r"def test_(\w+)", (root / path).read_text(encoding="utf-8")):
                found.setdefault(name, set()).add(path.as_posix())
    return found


def test_every_row_lists_all_tests_that_name_it_and_has_one(document: str, tests: dict[str, set[str]]) -> None:
    listed = {
        int(row): set(LINK.findall(text)) for row, text in re.findall(r"^\| (\d+) \|(.*)$", document, re.MULTILINE)
    }
    assert list(listed) == list(ROWS)
    naming: dict[int, set[tuple[str, str]]] = {row: set() for row in ROWS}
    for name, places in tests.items():
        for row in re.findall(r"(?<!\w)((?:f\d\d_)+)", name):
            for number in re.findall(r"\d\d", row):
                naming[int(number)] |= {(name, place) for place in places}
    assert listed == naming
    assert [row for row in ROWS if not naming[row]] == []


def test_every_promise_leads_to_a_test_that_exists(document: str, tests: dict[str, set[str]]) -> None:
    links = LINK.findall(document)
    assert len(links) > 100
    assert [link for link in links if link[1] not in tests.get(link[0], set())] == []
    promises = document.partition("## What is promised")[2].partition("## What is not promised")[0]
    points = [point for point in re.split(r"\n(?=- |\n)", promises) if point.strip().startswith("- ")]
    assert [point for point in points if not LINK.search(point)] == []
