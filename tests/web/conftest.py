"""A gateway with a day's work on its volume, and a browser."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="Playwright, which drives the browser, is not installed")

from tests.processes.test_gateway import GatewayProcess
from tests.web import showcase
from tests.web.browser import Visit, browsing, find_chromium

STORIES = [
    showcase.Story("baseline", 9, phase="stopped", limit=0.862, labels={"sweep": "rate"}, exported=True),
    showcase.Story("cosine", 6, phase="stopped", limit=0.884, labels={"sweep": "rate", "owner": "ada"}, exported=True),
]
TRAINER = "{python} -m tests.trainer.numpy_trainer --volume {volume} --slot {slot}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = find_chromium()
    if program is None:
        pytest.skip("Chromium is not installed; Debian's package is called chromium")
    with browsing(program) as opened:
        yield opened


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """Trains for real, 20 steps a second, with the engine that needs no TensorFlow."""
    volume = tmp_path_factory.mktemp("web") / "volume"
    volume.mkdir()
    showcase.write(volume, now=showcase.EVENING, stories=STORIES)
    process = GatewayProcess(
        volume, "--stop-slots-on-exit", TANDEM_GATEWAY_TRAINER_COMMAND=TRAINER, SECONDS_PER_STEP="0.05"
    )
    try:
        yield process.ready()
    finally:
        process.process.terminate()
        process.process.communicate(timeout=60)


@pytest.fixture
def visit(browser: Any, gateway: GatewayProcess) -> Iterator[Callable[..., Visit]]:
    """Opens pages, and at the end makes sure that none asked another host for anything or found an error."""
    visits: list[Visit] = []

    def open_page(place: str = "", *, width: int = 1280, height: int = 800, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        visits.append(Visit(context.new_page(), gateway.url).watch().go(place))
        return visits[-1]

    yield open_page
    for each in visits:
        each.page.context.close()
    assert [each.elsewhere for each in visits] == [[]] * len(visits)
    assert [each.unexpected() for each in visits] == [[]] * len(visits)
