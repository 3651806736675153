"""What a person does with facts: list them, look for them, and see what held before."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import pytest

from lab.client import Lab, connect
from lab.errors import InputError, NotFoundError
from lab.schemas.memory import Memory
from lab.schemas.summaries_config import SummariesConfig
from tests.api_server import Api
from tests.integration.test_memories import told
from tests.stack import LAB

pytestmark = pytest.mark.integration

N = SummariesConfig().messages
RAIN = [f"It rained on day {i}." for i in range(N - 1)]
TALK = ["My dog is called Zamiko.", *RAIN, "My dog is now called Orvelo.", *RAIN]
FORMER, HELD = "The user's dog is called Zamiko.", "The user's dog is called Orvelo."


async def moved(lab: Lab) -> list[Memory]:
    """Tell of a dog and of its new name, and return the memories."""
    memories = await told(lab, TALK)
    await lab.conversations.summarise(memories[0].conversation_id)
    return memories


def dogs(found: list[Any]) -> list[str]:
    return [fact.text for fact in found if "dog is called" in fact.text]


async def test_what_holds_is_listed_and_what_held_on_request(api: Api, ann: str, bob: str) -> None:
    async with connect(api.url, ann) as lab, connect(api.url, bob) as his:
        memories = await moved(lab)
        chat = memories[0].conversation_id

        held = await lab.facts.list()
        ever = await lab.facts.list(history=True)
        here = await lab.facts.list(conversation=chat, history=True)
        pages = [*(one := await lab.facts.list(1, history=True))]
        while one:
            one = await lab.facts.list(1, before=one[-1].id, history=True)
            pages += one

        assert dogs(held) == [HELD]
        assert dogs(ever) == [HELD, FORMER]
        later, former = (fact for fact in ever if fact.text in (HELD, FORMER))
        assert former.valid_until == later.valid_from == memories[-1].created_at
        assert here == ever == pages
        assert await lab.facts.get(later.id) == later
        assert later.memory_ids == [memory.id for memory in memories[N:]]
        assert await his.facts.list(history=True) == []
        for unknown in (his.facts.get(later.id), his.facts.list(conversation=chat)):
            with pytest.raises(NotFoundError):
                await unknown


async def test_a_search_finds_what_holds_best_first_and_what_held_on_request(
    api: Api, ann: str, bob: str
) -> None:
    async with connect(api.url, ann) as lab, connect(api.url, bob) as his:
        memories = await moved(lab)
        chat = memories[0].conversation_id
        question = "What is my dog called?"

        held = await lab.facts.search(question)
        ever = await lab.facts.search(question, history=True)

        assert held[0].fact.text == HELD
        assert FORMER not in {hit.fact.text for hit in held}
        assert {hit.fact.text for hit in ever[:2]} == {HELD, FORMER}
        assert [h.score for h in ever] == sorted((h.score for h in ever), reverse=True)
        assert 0 < (ever[0].similarity or 0) <= 1.0001
        assert len(await lab.facts.search(question, limit=1, history=True)) == 1
        assert await lab.facts.search(question, conversation=chat) == held
        assert await his.facts.search(question) == []
        with pytest.raises(NotFoundError):
            await his.facts.search(question, conversation=chat)
        with pytest.raises(InputError):
            await lab.facts.search("")
        with pytest.raises(NotFoundError):
            await lab.facts.get(uuid4())


async def test_forgetting_a_memory_reopens_what_held_before(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        await moved(lab)
        (fact,) = (fact for fact in await lab.facts.list() if fact.text == HELD)
        await lab.memories.delete(fact.memory_ids[0])
        await lab.conversations.summarise(fact.conversation_id)

        assert dogs(await lab.facts.list(history=True)) == [FORMER]
        (former,) = (fact for fact in await lab.facts.list() if fact.text == FORMER)
        assert former.valid_until is None


async def test_the_command_line_shows_facts_and_how_long_they_held(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        memories = await moved(lab)

    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(LAB, "memories", "facts", *arguments),
            env={"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
        )
        return (await process.communicate())[0].decode()

    held = await run()
    ever = await run("--history", "--conversation", str(memories[0].conversation_id))
    found = await run("What is my dog called?", "--history", "-n", "2")
    (hit,) = json.loads(await run("dog", "-n", "1", "--json"))
    listed = json.loads(await run("--json"))

    assert "valid from" in held
    assert HELD in held
    assert FORMER not in held
    (former,) = (line for line in ever.splitlines() if FORMER in line)
    assert former.split()[-2:] == f"{memories[-1].created_at:%F %T}".split()
    assert {line.split()[0] for line in found.splitlines()[1:]} != {"The"}
    assert HELD in found
    assert FORMER in found
    assert hit["fact"]["text"] == HELD
    assert HELD in {fact["text"] for fact in listed}
