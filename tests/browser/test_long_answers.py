"""A lab on a model of one's own that never ends: how answers stream and how they are stopped."""

import pytest
from playwright.async_api import Browser, expect

from lab.schemas.run_status import RunStatus
from tests.browser.chat import Chat
from tests.browser.visit import Person, log_in
from tests.stack import RunningStack

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
async def person(browser: Browser, endless: RunningStack) -> Person:
    """Somebody in that lab; takes the place of the fixture of the other modules."""
    return await log_in(browser, endless, endless.admin, endless.password)


async def test_a_model_that_is_no_demonstration_has_no_note(chat: Chat) -> None:
    await expect(chat.models).to_contain_text("default · endless")
    await expect(chat.note).to_be_hidden()


async def test_an_answer_grows_while_it_is_made(chat: Chat) -> None:
    await chat.say("Talk.")

    lengths = [len(await chat.until_longer()) for _ in range(5)]

    assert lengths == sorted(set(lengths))
    await expect(chat.answers).to_have_count(0)


async def test_a_stopped_answer_keeps_what_was_said(chat: Chat, person: Person) -> None:
    await chat.say("Talk.")
    await chat.until_longer()

    await chat.stop.click()
    await expect(chat.answers).to_have_count(1)
    await expect(chat.stop).to_be_hidden()
    await chat.page.reload()

    await expect(chat.questions).to_have_text(["Talk."])
    await expect(chat.answers).to_have_count(1)
    assert await chat.text_of(chat.answers.first)
    async with person.lab() as lab:
        (conversation, *_) = await lab.conversations.list(limit=1)
        (_, answer) = await lab.conversations.messages(conversation.id)
        assert answer.run_id
        assert (await lab.runs.get(answer.run_id)).status is RunStatus.cancelled


async def test_an_answer_goes_on_while_its_reader_looks_elsewhere(chat: Chat) -> None:
    await chat.say("Talk.")
    await chat.until_longer()
    title = await chat.heading.inner_text()
    await chat.begin()
    await expect(chat.stop).to_be_hidden()

    await chat.listed(title).first.get_by_role("button").first.click()

    await chat.until_longer()
    await expect(chat.stop).to_be_visible()
