"""A real Chromium for the tests in this folder. Screenshots go to build/screenshots."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from moorage.hub import entrance
from tests.conftest import ROOT
from tests.orchestrated.conftest import hub_address

if TYPE_CHECKING:
    from moorage.hub.api import HubAddress

__all__ = ["hub_address"]  # a fixture

PICTURES = ROOT / "build" / "screenshots"
page_errors: list[str] = []
"""What the server refused or did not answer, for the report of a failure."""
PATIENCE_MS = 120_000
"""The machine may be busy; what is waited for comes, or the test fails."""
FOREIGN = "evil.example"
"""A name that resolves to this machine in the browser, as after DNS rebinding."""


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; without one the test fails, and says what to do."""
    found = subprocess.run([ROOT / "scripts" / "browser"], capture_output=True, text=True, check=False, timeout=300)
    if found.returncode:
        pytest.fail(f"scripts/browser: {found.stderr}", pytrace=False)
    return found.stdout.strip()


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A browser; what the environment says about proxies does not concern our own hub.

    Not for longer than a module: while Playwright is there, its event loop runs, and no other test can run one.
    """
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1"]
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium, args=arguments, env=environment, timeout=PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield one
        one.close()


@pytest.fixture(scope="module")
def page(browser: Browser, hub_address: HubAddress) -> Iterator[Page]:
    """A page of a person who has come in by the hub's link."""
    context = person(browser)
    one = context.new_page()
    one.on("response", lambda got: page_errors.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    one.on("requestfailed", lambda lost: page_errors.append(f"{lost.failure} {lost.url}"))
    come_in(one, lambda: entrance.link(hub_address))
    yield one
    context.close()


def person(browser: Browser) -> BrowserContext:
    """A browser of somebody else: no cookies."""
    context = browser.new_context(viewport={"width": 1400, "height": 1200})
    context.set_default_timeout(PATIENCE_MS)
    return context


def come_in(page: Page, link: Callable[[], str]) -> str:
    """Open a link, and a new one where the browser was cut off: the networks of other tests come and go. Gives it."""
    for _ in range(3):
        used = link()
        with suppress(PlaywrightError):
            page.goto(used)
            page.wait_for_url(lambda url: "/moorage/enter" not in url, wait_until="commit", timeout=PATIENCE_MS / 3)
            return used
    pytest.fail(f"{used}: {page.url}\nlast answers that were errors: {page_errors[-10:]}")


def load(page: Page, url: str, seen: Callable[[], None]) -> None:
    """Go to a page of the UI. It asks the server once: where that was too busy to answer, we reload, as a person does."""
    for patience_ms in (PATIENCE_MS // 6, PATIENCE_MS // 3, PATIENCE_MS):
        page.set_default_timeout(patience_ms)
        expect.set_options(timeout=patience_ms)
        try:
            _go_to(page, url)
            seen()
        except (AssertionError, PlaywrightError) as error:
            last = error
        else:
            return
        finally:
            page.set_default_timeout(PATIENCE_MS)
            expect.set_options(timeout=PATIENCE_MS)
    pytest.fail(f"{url}: {last}\nlast answers that were errors: {page_errors[-10:]}")


def _go_to(page: Page, url: str) -> None:
    """Playwright takes a redirect to another address, at times, for somebody else's navigation. What is seen counts."""
    try:
        page.goto(url)
    except PlaywrightError as error:
        if "is interrupted by another navigation" not in str(error):
            raise


def picture(page: Page, name: str) -> None:
    """A screenshot, with something on it."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(700)  # for what still fades in
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    assert (PICTURES / f"{name}.png").stat().st_size > 10_000
