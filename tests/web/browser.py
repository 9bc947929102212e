"""Debian's Chromium, driven by Playwright: pages that note what they ask of other hosts and what goes wrong in them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Error, Locator, Page, Route, expect, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
"""Chromium drops every connection when any interface of the machine comes or goes, as where containers start beside."""
PATIENCE = 30_000.0
"""Milliseconds until something must be there, on a machine that has other things to do."""


def find_chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """A browser, ended with the block, and with it Playwright's event loop, which would trouble other tests."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--disable-gpu"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """One open page of a gateway.

    Attributes:
        page: To be used.
        url: Of the gateway.
        elsewhere: Requests to other hosts; each was refused.
        faults: What the page's console says of errors, the policy's refusals among them.
        excused: Words of those that the test itself brings about.
    """

    page: Page
    url: str
    elsewhere: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)

    def watch(self) -> "Visit":
        self.page.set_default_timeout(PATIENCE)
        self.page.context.route("**/*", self._judge)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", self._hear)
        return self

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error" and NETWORK_CHANGED not in message.text:
            self.faults.append(message.text)

    def _judge(self, route: Route) -> None:
        wanted = urlsplit(route.request.url)
        if wanted.scheme in ("http", "https", "ws", "wss") and wanted.netloc != urlsplit(self.url).netloc:
            self.elsewhere.append(route.request.url)
            route.abort()
        else:
            route.continue_()

    def go(self, place: str) -> "Visit":
        try:
            self.page.goto(f"{self.url}/#/{place}")
        except Error as error:
            if NETWORK_CHANGED not in error.message:
                raise
            self.page.goto(f"{self.url}/#/{place}")
        return self

    def expected(self, fault: str) -> None:
        """Excuses faults that the test itself brings about; the console may tell of them late."""
        self.excused.append(fault)

    def unexpected(self) -> list[str]:
        return [each for each in self.faults if not any(words in each for words in self.excused)]

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def state(self) -> Locator:
        return self.page.locator(".run-head .pill")

    def overflow(self) -> Any:
        """How many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
