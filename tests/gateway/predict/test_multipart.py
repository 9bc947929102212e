import asyncio
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.predict.multipart import files
from shared.errors import InstancesError
from tests.gateway.predict.asking import A
from tests.gateway.predict.pictures import blank

KIND = 'multipart/form-data; boundary="x"'


def part(content: bytes, *, head: bytes = b'Content-Disposition: form-data; name="a"; filename="a.png"') -> bytes:
    return b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def form(*contents: bytes) -> tuple[bytes, str]:
    """A body and its content type, made by a client of other people."""
    sent = [("picture", (f"{index}.png", content, "image/png")) for index, content in enumerate(contents)]
    request = httpx.Request("POST", "http://gateway", files=sent)
    return request.read(), request.headers["content-type"]


def test_files_are_found_in_order_and_byte_for_byte() -> None:
    contents = [b"one", b"", b"--x\r\n", b"\r\n\r\n", bytes(range(256))]
    body, kind = form(*contents)
    assert files(body, kind, most=5) == contents


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4))
def test_whatever_is_in_them_files_come_back_as_they_were(contents: list[bytes]) -> None:
    body, kind = form(*contents)
    assert files(body, kind, most=4) == contents


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", KIND),
        (part(b"a"), KIND),
        (b"--x--\r\n", KIND),
        (part(b"a") + b"--x--", "multipart/form-data"),
        (part(b"a") + b"--x--", "multipart/form-data; boundary=y"),
        (part(b"a", head=b'Content-Disposition: form-data; name="top"') + b"--x--", KIND),
        (part(b"a", head=b"") + b"--x--", KIND),
        (part(b"a") * 3 + b"--x--", KIND),
    ],
    ids=["nothing", "cut off", "no file", "no boundary", "another boundary", "a field", "no head", "too many"],
)
def test_body_that_is_no_form_of_files_is_refused(body: bytes, kind: str) -> None:
    with pytest.raises(InstancesError):
        files(body, kind, most=2)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read_and_nothing_else(body: bytes) -> None:
    try:
        assert files(b"--x" + body, KIND, most=2)
    except InstancesError as error:
        assert error.where


def test_pictures_of_a_form_are_classified(models, make_serving) -> None:
    models.export(A, 7)
    serving = make_serving()
    body, kind = form(blank(8, 8), blank(300, 300))
    reply = asyncio.run(serving.ask(body, content_type=kind))
    labels = [each["classes"][0]["label"] for each in json.loads(reply.body)["predictions"]]
    assert (reply.status, labels) == (200, ["class-7", "class-7"])


def test_file_that_is_no_picture_is_named_by_its_place(models, make_serving) -> None:
    models.export(A, 7)
    serving = make_serving()
    body, kind = form(blank(8, 8), b"no picture")
    reply = asyncio.run(serving.ask(body, content_type=kind))
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error["where"]) == (415, "image_format", "body.1")
