import logging
from pathlib import Path

import pytest

from services.gateway.web import library
from services.gateway.web.library import UPLOT


@pytest.mark.parametrize("each", library.LIBRARIES, ids=lambda each: each.carrier)
def test_the_installed_library_is_the_one_of_its_release(each: library.Library) -> None:
    files = library.load(each, library.locate(each))
    assert set(files) == set(each.digests)
    assert any(each.version.encode() in data for data in files.values())


def test_a_library_that_was_changed_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, data in library.load(UPLOT, library.locate(UPLOT)).items():
        (tmp_path / name).write_bytes(data)
    with (tmp_path / "uplot.iife.min.js").open("ab") as file:
        file.write(b"fetch('/elsewhere')")
    with caplog.at_level(logging.WARNING):
        assert library.load(UPLOT, tmp_path) == {}
    assert "uplot.iife.min.js of uPlot 1.6.31 is not the one of its release" in caplog.text


def test_a_library_that_is_missing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert library.load(UPLOT, None) == library.load(UPLOT, tmp_path) == {}
    assert "is missing; install youplot" in caplog.text
