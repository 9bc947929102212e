import logging
from pathlib import Path

import pytest

from services.gateway.web import library


def test_the_installed_library_is_the_one_of_its_release() -> None:
    files = library.load(library.locate())
    assert set(files) == set(library.DIGESTS)
    assert library.VERSION.encode() in files["uplot.iife.min.js"][:100]


def test_a_library_that_was_changed_is_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, data in library.load(library.locate()).items():
        (tmp_path / name).write_bytes(data)
    with (tmp_path / "uplot.iife.min.js").open("ab") as file:
        file.write(b"fetch('/elsewhere')")
    with caplog.at_level(logging.WARNING):
        assert library.load(tmp_path) == {}
    assert "uplot.iife.min.js of uPlot 1.6.31 is not the one of its release" in caplog.text


def test_a_library_that_is_missing_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert library.load(None) == library.load(tmp_path) == {}
    assert "is missing; install youplot" in caplog.text
