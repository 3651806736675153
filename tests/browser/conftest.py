"""
Fixtures of the browser tests.

browser     Debian's Chromium
person      somebody who is logged in
page        a page of that person's; a picture of it stays in `tmp_path` when the test fails
chat        a new conversation in the chat, on that page
"""

import os
import shutil
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.async_api import (
    Browser,
    Page,
    StorageState,
    ViewportSize,
    async_playwright,
    expect,
)

from lab.client import Lab, connect
from tests.browser.chat import CHAT, Chat
from tests.stack import RunningStack

TIMEOUT_MS = 60_000
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
# Chromium's own sandbox refuses root, and its services look for hosts that are not there.
FLAGS = (
    "--disable-background-networking", "--disable-component-update", "--disable-gpu",
    "--disable-quic", "--disable-sync", "--no-first-run",
)  # fmt: skip
SANDBOX = ("--no-sandbox",) if os.geteuid() == 0 else ()
FAILED = pytest.StashKey[bool]()


@dataclass(frozen=True)
class Person:
    """
    Somebody who is logged in.

    Attributes
    ----------
    stack : RunningStack
        The lab where they are.
    name, token : str
        How they are called, and what their programs show.
    cookies : StorageState
        What their browser shows.
    """

    stack: RunningStack
    name: str
    token: str
    cookies: StorageState

    def lab(self) -> Lab:
        """Return a client of theirs."""
        return connect(f"{self.stack.url}/services/api", self.token)


async def log_in(browser: Browser, stack: RunningStack, name: str, password: str) -> Person:
    """Log somebody in by the form."""
    async with await browser.new_context(base_url=stack.url) as context:
        page = await context.new_page()
        await fill_in(page, name, password)
        await page.wait_for_url("**/hub/home")
        cookies = await context.storage_state()
    async with stack.visitor(name, password) as visitor:
        return Person(stack, name, await visitor.token(), cookies)


async def fill_in(page: Page, name: str, password: str) -> None:
    """Fill in the form of the login and send it."""
    await page.goto("/")
    await page.get_by_label("Username").fill(name)
    await page.get_by_role("textbox", name="Password").fill(password)
    await page.get_by_role("button", name="Sign in").click()


@asynccontextmanager
async def opened(
    browser: Browser, person: Person, viewport: ViewportSize = DESKTOP
) -> AsyncIterator[Page]:
    """Open a page of a person's, in a browser that knows nothing but who they are."""
    async with await browser.new_context(
        base_url=person.stack.url, storage_state=person.cookies, viewport=viewport
    ) as context:
        context.set_default_timeout(TIMEOUT_MS)
        yield await context.new_page()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    expect.set_options(timeout=TIMEOUT_MS)
    chromium = shutil.which("chromium")
    assert chromium, "The browser tests need Debian's chromium, which `scripts/test` installs."
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(
            executable_path=chromium, args=[*FLAGS, *SANDBOX]
        ) as browser,
    ):
        yield browser


@pytest.fixture(scope="session")
async def person(browser: Browser, stack: RunningStack) -> Person:
    return await log_in(browser, stack, "vera", stack.add_user("vera"))


@pytest.fixture
async def page(
    browser: Browser, person: Person, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Page]:
    async with opened(browser, person) as page:
        yield page
        if request.node.stash.get(FAILED, False):
            await page.screenshot(path=tmp_path / "page.png")


@pytest.fixture
async def chat(page: Page) -> Chat:
    await page.goto(CHAT)
    chat = Chat(page)
    await chat.begin()
    return chat


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report
