"""The chat dashboard, as a person uses it."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.browser.chat import CHAT, Chat
from tests.browser.visit import PHONE, Person, opened

pytestmark = pytest.mark.browser

CODE = """\
Look:

```python
def double(x: int) -> int:
    return 2 * x
```

<script>document.title = "stolen"</script><img src="x" onerror="document.title = 'stolen'">
"""


@pytest.fixture
async def prefers_a_model_that_is_not_there(person: Person) -> AsyncIterator[None]:
    async with person.lab() as lab:
        await lab.config.set("roles.primary", "lab-tony")
        yield
        await lab.config.reset("roles.primary")


@pytest.fixture
async def calculator_asks(person: Person) -> AsyncIterator[None]:
    async with person.lab() as lab:
        await lab.config.set("tools.enabled", ["calculator"])
        await lab.config.set("tools.ask", ["calculator"])
        yield
        await lab.config.reset("tools.enabled")
        await lab.config.reset("tools.ask")


async def test_history_is_still_there_after_a_reload(chat: Chat) -> None:
    said = await chat.ask("My dog is called Zamiko.")

    await chat.page.reload()

    await expect(chat.questions).to_have_text(["My dog is called Zamiko."])
    await expect(chat.answers).to_have_count(1)
    assert await chat.text_of(chat.answers.first) == said


async def test_enter_sends_and_shift_enter_makes_a_new_line(chat: Chat) -> None:
    await expect(chat.box).to_be_focused()
    await chat.page.keyboard.type("My dog is called Zamiko.")
    await chat.page.keyboard.press("Shift+Enter")
    await chat.page.keyboard.type("I live in Belora.")
    await expect(chat.box).to_have_value("My dog is called Zamiko.\nI live in Belora.")
    await chat.page.keyboard.press("Enter")

    await expect(chat.questions).to_have_text(["My dog is called Zamiko. I live in Belora."])
    await expect(chat.box).to_have_value("")
    await expect(chat.box).to_be_focused()


async def test_code_is_shown_and_what_would_run_is_only_text(chat: Chat) -> None:
    await chat.say(CODE)

    code = chat.questions.locator("pre code")
    await expect(code.locator("span.k").first).to_have_text("def")
    await expect(chat.questions).to_contain_text("<script>")
    assert await chat.questions.locator("script, img").count() == 0
    assert await chat.page.title() == "Chat · LLM ML Lab"


async def test_conversations_are_renamed_and_deleted(chat: Chat) -> None:
    rename = chat.conversations.get_by_role("button", name="Rename")
    n_listed = await rename.count()
    await chat.say("I have two cats.")
    await expect(rename).to_have_count(n_listed + 1)
    await rename.first.click()
    await chat.page.get_by_role("textbox", name="New title").fill("About my cats")
    await expect(chat.heading).not_to_have_text("New chat")  # the lab's own title came meanwhile
    await chat.page.keyboard.press("Enter")
    await expect(chat.listed("About my cats")).to_be_visible()
    await expect(chat.heading).to_have_text("About my cats")

    await chat.begin()
    await chat.listed("About my cats").get_by_role("button").first.click()
    await expect(chat.questions).to_have_text(["I have two cats."])

    await chat.page.get_by_role("button", name="Delete About my cats").click()
    await chat.conversations.get_by_role("button", name="Delete", exact=True).click()
    await expect(chat.listed("About my cats")).to_have_count(0)
    await expect(chat.welcome).to_be_visible()


async def test_the_receipt_says_what_the_model_saw_and_what_it_cost(chat: Chat) -> None:
    await chat.ask("My dog is called Zamiko.")
    await chat.ask("What is my dog called?")

    receipt = await chat.open_receipt(chat.answers.last)

    await expect(receipt).to_contain_text("1,024 tokens of lab-tiny’s window")
    for part in ("System prompt", "Recent messages", "Question", "seed", "ms in all"):
        await expect(receipt).to_contain_text(part)
    said = receipt.locator(".lab-edge-recent", has_text="My dog is called Zamiko.")
    await expect(said.first).to_be_visible()


async def test_the_note_on_the_demonstration_model_is_dismissed_for_good(chat: Chat) -> None:
    for words in ("demonstration model", "lab models", "LAB_CHAT_MODEL", "Qwen/Qwen3-0.6B"):
        await expect(chat.note).to_contain_text(words)

    await chat.page.get_by_role("button", name="Dismiss this note").click()
    await expect(chat.note).to_be_hidden()
    await chat.page.reload()

    await expect(chat.box).to_be_visible()
    await expect(chat.note).to_be_hidden()


@pytest.mark.usefixtures("prefers_a_model_that_is_not_there")
async def test_an_error_says_what_to_do_and_can_be_tried_again(chat: Chat) -> None:
    await chat.say("Hello.")
    await expect(chat.problem).to_contain_text("Unknown model lab-tony")
    await expect(chat.problem).to_contain_text("lab-tiny")

    await chat.models.select_option("lab-tiny")
    await chat.problem.get_by_role("button", name="Try again").click()

    await expect(chat.answers).to_have_count(1)
    await expect(chat.questions).to_have_text(["Hello."])
    await expect(chat.problem).to_be_hidden()


async def test_the_chat_fits_a_phone(browser: Browser, person: Person) -> None:
    async with opened(browser, person, PHONE) as page:
        chat = Chat(page)
        await page.goto(CHAT)
        await expect(chat.conversations).to_be_hidden()
        await page.get_by_role("button", name="Conversations").click()
        await chat.begin()
        await expect(chat.conversations).to_be_hidden()

        await chat.say(CODE)

        await expect(chat.questions).to_contain_text("double")
        width = await page.evaluate("document.querySelector('.lab-thread').scrollWidth")
        assert width <= PHONE["width"]


async def test_a_chat_goes_on_from_an_earlier_answer_in_another_one(chat: Chat) -> None:
    said = await chat.ask("My dog is called Zamiko.")
    await chat.ask("I live in Belora.")

    await chat.answers.first.get_by_role("button", name="Go on from here in a new chat").click()

    await expect(chat.questions).to_have_text(["My dog is called Zamiko."])
    assert await chat.text_of(chat.answers.first) == said
    await chat.ask("I live in Rome.")
    await expect(chat.questions).to_have_text(["My dog is called Zamiko.", "I live in Rome."])


async def test_a_person_allows_what_a_model_wants_to_call_or_denies_it(
    chat: Chat, calculator_asks: None
) -> None:
    asked = chat.page.get_by_role("group", name="The model asks")
    for choice, result in (("Allow", "42"), ("Deny", "the user did not allow this call")):
        await chat.begin()
        await chat.say("What is 6 * 7?")
        await expect(asked.locator("pre")).to_contain_text("6")
        await expect(chat.answers).to_have_count(0)

        await asked.get_by_role("button", name=choice).click()

        await expect(chat.answers).to_have_count(1)
        await expect(asked).to_be_hidden()
        await expect(chat.answers.first.locator("details.lab-tool pre").last).to_contain_text(
            result
        )
