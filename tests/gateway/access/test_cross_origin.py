"""Without keys, a gateway does nothing for web pages of others that a browser on its machine shows."""

from typing import Any

import httpx
import pytest

from services.gateway.access.cross_origin import refuse_cross_origin
from shared.errors import ForbiddenError

HERE = "127.0.0.1:8000"


def headers(**given: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in ({"host": HERE} | given).items()]


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST", "127.8.9.1", "[::1]:8000", "[::1]"])
def test_a_program_on_this_machine_may_do_everything(host: str):
    for method in ("GET", "POST", "DELETE"):
        refuse_cross_origin(method, headers(host=host.lower()))


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_name_that_means_this_machine_all_of_a_sudden_opens_nothing(method: str, host: str):
    with pytest.raises(ForbiddenError, match="names of this machine alone"):
        refuse_cross_origin(method, headers(host=host))


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8000"])
def test_a_page_from_elsewhere_changes_nothing(origin: str):
    with pytest.raises(ForbiddenError, match="pages from elsewhere"):
        refuse_cross_origin("POST", headers(origin=origin))


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_calls_foreign_changes_nothing_even_without_an_origin(site: str):
    with pytest.raises(ForbiddenError):
        refuse_cross_origin("POST", headers(sec_fetch_site=site))
    refuse_cross_origin("GET", headers(sec_fetch_site=site))  # a link; its page cannot read the answer


def test_the_gateways_own_page_may_do_everything():
    refuse_cross_origin("POST", headers(origin=f"http://{HERE}", sec_fetch_site="same-origin"))


def test_the_gate_refuses_writes_it_down_and_leaves_health_to_everybody(bench: Any):
    app = bench.app(local_only=True)
    client = bench.client_of(app)

    def ask(method: str, path: str, **given: str) -> httpx.Response:
        return client.request(method, path, headers={"host": HERE, **given})

    assert ask("GET", "/v1/runs").status_code == 200
    refused = ask("POST", "/v1/runs", origin="https://evil.example")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert bench.runs.awake() == []
    assert ask("GET", "/v1/runs", host="evil.example").status_code == 403
    assert ask("GET", "/livez", host="gateway:8000").status_code == 200
