"""
Fixtures of the browser tests.

browser     Debian's Chromium
person      somebody who is logged in
page        a page of that person's; when the test fails, a picture of it and what its console
            said stay in `tmp_path`
chat        a new conversation in the chat, on that page
"""

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.browser.chat import CHAT, Chat
from tests.browser.visit import Person, chromium, log_in, opened
from tests.stack import RunningStack

FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
async def person(browser: Browser, stack: RunningStack) -> Person:
    return await log_in(browser, stack, "vera", stack.add_user("vera"))


@pytest.fixture
async def page(
    browser: Browser, person: Person, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Page]:
    async with opened(browser, person) as page:
        said: list[str] = []
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        yield page
        if request.node.stash.get(FAILED, False):
            await page.screenshot(path=tmp_path / "page.png")
            (tmp_path / "console.txt").write_text("\n".join(said), "utf-8")


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
