"""The page of a gateway that asks for keys."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from shared.keys import create_key, revoke_key
from tests.processes.test_gateway import GatewayProcess
from tests.web import showcase
from tests.web.browser import Visit


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[GatewayProcess]:
    volume = tmp_path_factory.mktemp("web") / "volume"
    volume.mkdir()
    showcase.write(volume, now=showcase.EVENING, stories=[showcase.Story("secret", 3, phase="stopped")])
    create_key(keys, name="first", scopes=("read",), clock=lambda: 0.0)
    process = GatewayProcess(volume, TANDEM_GATEWAY_KEYS=str(keys))
    try:
        yield process.ready()
    finally:
        process.process.terminate()
        process.process.communicate(timeout=60)


def test_the_page_asks_for_a_key_keeps_it_in_its_tab_and_says_what_it_does_not_open(
    visit: Callable[..., Visit], keys: Path
) -> None:
    reader = create_key(keys, name="reader", scopes=("read",), clock=lambda: 0.0)
    here = visit()
    page = here.page
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("An access key, please")
    expect(page.get_by_text("secret", exact=True)).to_have_count(0)
    dialog.get_by_label("Key").fill("tandem_wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("An access key, please")
    dialog.get_by_label("Key").fill(reader)
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="secret")).to_be_visible()
    expect(page.locator("#link")).to_have_attribute("data-link", "live")
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]

    page.get_by_role("link", name="secret").click()
    expect(page.locator(".events")).to_be_visible()
    here.button("Restart").click()
    expect(page.get_by_text("the key reader has not the scope control")).to_be_visible()

    revoke_key(keys, "reader")
    page.reload()
    expect(dialog).to_contain_text("An access key, please")
    here.expected("status of 40")
