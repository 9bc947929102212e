"""The page's files as a browser gets them."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.gateway.web import assets
from services.gateway.web.wiring import make_router

FILES = sorted(path.relative_to(assets.STATIC).as_posix() for path in assets.STATIC.rglob("*") if path.is_file())


@pytest.fixture
def client(bench: Any) -> Any:
    return bench.client(routers=[make_router()])


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_the_page_forbids_everything_that_the_gateway_does_not_serve(client: Any, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_everything_that_the_page_names_is_served(client: Any, page: str) -> None:
    named = set(re.findall(r'(?:href|src)="(web/[^"]+)"', client.get(page).text))
    assert len(named) > 4
    assert {name: client.get(f"/{name}").status_code for name in named} == dict.fromkeys(named, 200)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_as_it_is_and_only_once(client: Any, name: str) -> None:
    answer = client.get(f"/web/{name}")
    assert answer.content == (assets.STATIC / name).read_bytes()
    assert answer.headers["Content-Type"].split(";")[0] == assets.TYPES[Path(name).suffix].split(";")[0]
    again = client.get(f"/web/{name}", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Content-Security-Policy"]


def test_a_file_is_compressed_for_who_can_read_that(client: Any) -> None:
    plain = client.get("/web/style.css", headers={"Accept-Encoding": "identity"})
    packed = client.get("/web/style.css", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert int(packed.headers["Content-Length"]) < 0.5 * len(plain.content)
    assert packed.content == plain.content


@pytest.mark.parametrize(
    "path", ["/web/nothing.js", "/web/../assets.py", "/web/%2e%2e/assets.py", "/web/", "/web/index.html/"]
)
def test_what_is_no_file_of_the_page_is_not_found(client: Any, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_no_file_of_the_page_speaks_of_another_host_or_writes_markup() -> None:
    for name in FILES:
        text = (assets.STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
        if name.endswith(".html"):
            assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", text), name
