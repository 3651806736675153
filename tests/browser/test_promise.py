"""A fact, then 300 turns of other talk, then the question: asked in the chat."""

import pytest
from playwright.async_api import expect

from lab.evals.talks import hold, write_talk
from tests.browser.chat import Chat
from tests.browser.visit import Person

pytestmark = pytest.mark.browser

FACT = "My dog is called Zamiko."
QUESTION = "What is my dog called?"


async def test_300_turns_later_the_chat_knows_it_in_the_words_of_the_api(
    chat: Chat, person: Person
) -> None:
    await chat.ask(FACT)
    async with person.lab() as lab:
        (conversation, *_) = await lab.conversations.list(limit=1)
        talk = write_talk(n_facts=0, n_turns=300, seed=1)
        await hold(lab, conversation.id, talk.messages)
        expected = await lab.chat(QUESTION, conversation=conversation.id, store=False)
    await chat.page.reload()

    answer = await chat.ask(QUESTION)

    receipt = await chat.open_receipt(chat.answers.last)
    remembered = receipt.locator(".lab-edge-memory", has_text=FACT)
    await expect(remembered.first).to_be_visible()
    assert answer.split() == expected.text.split()
    assert "Zamiko" in answer
