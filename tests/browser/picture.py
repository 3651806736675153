"""Take the picture of the chat for the README: `scripts/screenshot`."""

import asyncio
import sys
from pathlib import Path

from tests.browser.chat import CHAT, Chat
from tests.browser.visit import chromium, log_in, opened
from tests.stack import RunningStack, running_stack

FACTS = ("My dog is called Zamiko.", "I live in Belora.")
QUESTIONS = ("What is my dog called?",)


async def take(stack: RunningStack, name: str, password: str, file: Path) -> None:
    """Say a few things, ask in another conversation, and show what was remembered."""
    async with (
        chromium() as browser,
        opened(
            browser, await log_in(browser, stack, name, password), device_scale_factor=2
        ) as page,
    ):
        chat = Chat(page)
        await page.goto(CHAT)
        for talk in (FACTS, QUESTIONS):
            await chat.begin()
            for text in talk:
                await chat.ask(text)
        await page.get_by_role("button", name="Dismiss this note").click()
        await chat.open_receipt(chat.answers.last)
        await page.locator(".lab-thread").evaluate("node => node.scrollTop = 0")
        await page.mouse.move(0, 0)
        await page.screenshot(path=file)


def main() -> None:
    """Start a lab, take the picture, and stop it."""
    with running_stack() as stack:
        asyncio.run(take(stack, "ada", stack.add_user("ada"), Path(sys.argv[1])))


if __name__ == "__main__":
    main()
