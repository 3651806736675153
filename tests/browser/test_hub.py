"""From the login to the chat, and to the same notebook in JupyterLab."""

import pytest
from playwright.async_api import Browser, Page, Request, expect

from tests.browser.chat import CHAT, Chat
from tests.browser.visit import Person, fill_in
from tests.stack import RunningStack

pytestmark = pytest.mark.browser


async def test_a_person_logs_in_and_finds_the_chat(browser: Browser, stack: RunningStack) -> None:
    async with await browser.new_page(base_url=stack.url) as page:
        await fill_in(page, stack.admin, stack.password)
        await page.get_by_role("link", name="Chat").click()

        chat = Chat(page)
        await expect(chat.welcome).to_be_visible()
        await expect(chat.conversations).to_contain_text(stack.admin)
        assert await page.title() == "Chat · LLM ML Lab"


async def test_a_wrong_password_says_so_and_asks_again(
    browser: Browser, stack: RunningStack
) -> None:
    async with await browser.new_page(base_url=stack.url) as page:
        await fill_in(page, stack.admin, "wrong")

        await expect(page.get_by_text("Invalid username or password")).to_be_visible()
        await expect(page.get_by_label("Username")).to_be_visible()


async def test_the_chat_asks_nobody_but_the_lab(page: Page, person: Person) -> None:
    refused: list[str] = []
    reached: list[str] = []

    def note(request: Request) -> None:
        by_the_page = request.failure == "csp"
        (refused if by_the_page else reached).append(request.url)

    page.on("requestfailed", note)
    page.on("requestfinished", note)
    await page.goto(CHAT)
    await expect(Chat(page).box).to_be_visible()

    foreign = [u for u in reached if not u.startswith((person.stack.url, "blob:", "data:"))]
    assert foreign == []
    assert all("jsdelivr" in url for url in refused), refused


async def test_the_chat_works_in_a_cell_of_jupyterlab(page: Page) -> None:
    chat = Chat(page)
    await page.goto("/hub/user-redirect/lab/tree/notebooks/dashboards/chat.ipynb")
    await expect(page.get_by_text("| Idle")).to_be_visible()
    await page.get_by_role("menuitem", name="Run", exact=True).click()
    await page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    await chat.begin()

    await chat.ask("I live in Belora.")

    await expect(chat.questions).to_have_text(["I live in Belora."])
    await expect(chat.box).to_be_focused()
    assert await page.locator(".lab-cell").is_visible()
    assert await page.get_by_text("official Jupyter news").count() == 0
