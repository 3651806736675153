"""Debian's Chromium, and people who visit a lab with it."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from playwright.async_api import (
    Browser,
    Page,
    StorageState,
    ViewportSize,
    async_playwright,
    expect,
)

from lab.client import Lab, connect
from tests.stack import RunningStack

TIMEOUT_MS = 120_000
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
# Chromium's own sandbox refuses root, and its services look for hosts that are not there.
FLAGS = (
    "--disable-background-networking", "--disable-component-update", "--disable-gpu",
    "--disable-quic", "--disable-sync", "--no-first-run",
)  # fmt: skip
SANDBOX = ("--no-sandbox",) if os.geteuid() == 0 else ()


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


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run Chromium without a screen."""
    expect.set_options(timeout=TIMEOUT_MS)
    program = shutil.which("chromium")
    assert program, "The browser tests need Debian's chromium, which `scripts/test` installs."
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(
            executable_path=program, args=[*FLAGS, *SANDBOX]
        ) as browser,
    ):
        yield browser


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
    browser: Browser, person: Person, viewport: ViewportSize = DESKTOP, **options: Any
) -> AsyncIterator[Page]:
    """Open a page of a person's, in a browser that knows nothing but who they are."""
    async with await browser.new_context(
        base_url=person.stack.url, storage_state=person.cookies, viewport=viewport, **options
    ) as context:
        context.set_default_timeout(TIMEOUT_MS)
        yield await context.new_page()
