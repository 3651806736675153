"""Facts of a conversation: how they come with its summaries, stand in the window, and go."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from lab.db import Database
from lab.protocols import ChatPipeline, EmbeddingPipeline
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.fact import Fact
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.said_message import SaidMessage
from lab.schemas.source_kind import SourceKind
from lab.schemas.user import User
from lab.schemas.window import Window
from lab.schemas.window_request import WindowRequest
from lab.workflows.statements import in_sentences
from lab.workflows.summaries import Job, Summariser
from lab.workflows.turns import Turns
from tests.integration.test_summaries import (
    N,
    chat,
    every,
    hammer,
    long_talk,
    of_kind,
    pets,
    rain,
    runtime,
    settings,
    tell,
    until_written,
    user,
)
from tests.unit.test_workflows_summary import Copyist

__all__ = ["chat", "runtime"]

pytestmark = pytest.mark.integration

MOVED = [*pets("Zamiko"), *rain(N - 1), user("My dog is now called Orvelo."), *rain(N - 1)]
"""What two summaries tell of."""


async def facts(
    runtime: Runtime, owner: User, chat: UUID | None = None, *, history: bool = False
) -> list[Fact]:
    async with runtime.database.stores(owner.id) as stores:
        return await stores.facts.list(conversation_id=chat, history=history)


def told(found: Sequence[Fact]) -> set[str]:
    return {fact.text for fact in found}


def dogs(found: Sequence[Fact]) -> list[str]:
    return [fact.text for fact in found if "dog is called" in fact.text]


async def window(
    runtime: Runtime, owner: User, chat: UUID | None, question: str, *, memory: bool | None = None
) -> Window:
    turn = ChatTurn(messages=[user(question)], conversation_id=chat, memory=memory)
    return await runtime.answering.window(owner, WindowRequest(turn=turn))


def known(receipt: Receipt, *, included: bool = True) -> list[str]:
    return [item.text for item in of_kind(receipt, SourceKind.fact, included=included)]


async def set_to(runtime: Runtime, owner: User, values: dict[str, Any]) -> None:
    """Set what a user sets, and wait until the lab has heard of it."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.config.set(values)
    wanted = runtime.settings.under_user(values).config
    async with asyncio.timeout(10):
        while (await runtime.preferences.settings_of(owner)).config != wanted:
            await asyncio.sleep(0.01)


async def test_what_was_changed_holds_in_the_window_and_the_former_in_the_history(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, [*MOVED, *long_talk()[1:]])

    held = await facts(runtime, owner)
    ever = await facts(runtime, owner, history=True)
    seen = await window(runtime, owner, chat, "What is my dog called?")

    assert dogs(held) == ["The user's dog is called Orvelo."]
    later, former = [fact for fact in ever if "dog is called" in fact.text]
    assert former.text == "The user's dog is called Zamiko."
    assert former.valid_from < later.valid_from
    assert (former.valid_until, later.valid_until) == (later.valid_from, None)
    (fact,) = (i for i in of_kind(seen.receipt, SourceKind.fact) if i.source_id == later.id)
    assert (fact.role, fact.reason, fact.said_at) == (
        *(None, "bears on the question"),
        later.valid_from,
    )
    assert fact.score is not None
    block = (seen.messages[0].content or "").split("\n\nFacts:\n")[1]
    assert block.endswith(f"- {later.valid_from:%Y-%m-%d} fact: The user's dog is called Orvelo.")
    assert former.text not in block


async def test_a_fact_says_which_memories_it_follows_and_their_correction_reopens_the_former(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, MOVED)
    async with database.stores(owner.id) as stores:
        memories = (await stores.memories.list(conversation_id=chat))[::-1]
    (fact,) = (f for f in await facts(runtime, owner) if "Orvelo" in f.text)
    assert fact.memory_ids == [memory.id for memory in memories[N : 2 * N]]
    assert (fact.first_position, fact.last_position) == (N, 2 * N - 1)

    await runtime.correct_memory(owner, memories[N].id, "The sun came out.")
    between = await facts(runtime, owner, history=True)
    await runtime.summarise(owner, chat)
    after = await facts(runtime, owner, history=True)
    await runtime.correct_memory(owner, memories[N].id, "My dog is now called Belfo.")
    await runtime.summarise(owner, chat)

    for found in (between, after):
        (left,) = (f for f in found if "dog is called" in f.text)
        assert (left.text, left.valid_until) == ("The user's dog is called Zamiko.", None)
    assert dogs(await facts(runtime, owner)) == ["The user's dog is called Belfo."]


@pytest.mark.parametrize("forgotten", ["memory", "message", "all", "conversation"])
async def test_what_is_forgotten_is_no_fact(
    runtime: Runtime, database: Database, owner: User, chat: UUID, forgotten: str
) -> None:
    await tell(runtime, owner, chat, [*pets("Zamiko"), *rain(N - 1)])
    assert dogs(await facts(runtime, owner))
    async with database.stores(owner.id) as stores:
        memory = (await stores.memories.list(conversation_id=chat))[-1]
        match forgotten:
            case "memory":
                await stores.memories.delete(memory.id)
            case "message":
                await stores.messages.delete(memory.message_id)
            case "all":
                await stores.memories.delete_all()
            case _:
                await stores.conversations.delete(chat)

    assert await facts(runtime, owner, history=True) == []


async def test_facts_come_into_other_chats_unless_memory_keeps_to_one(
    runtime: Runtime, database: Database, owner: User, other_owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, [*pets("Zamiko"), *rain(N - 1)])
    question = "What is my dog called?"
    async with database.stores(owner.id) as stores:
        other = (await stores.conversations.create("other")).id

    there = known((await window(runtime, owner, other, question)).receipt)
    here = await window(runtime, owner, chat, question)
    stateless = known((await window(runtime, owner, None, question)).receipt)
    on_request = known((await window(runtime, owner, None, question, memory=True)).receipt)
    without = known((await window(runtime, owner, other, question, memory=False)).receipt)
    theirs = known((await window(runtime, other_owner, None, question, memory=True)).receipt)
    await set_to(runtime, owner, {"memory": {"scope": "conversation"}})
    apart = known((await window(runtime, owner, other, question)).receipt)

    assert there == on_request != []
    assert "The user's dog is called Zamiko." in there
    assert stateless == without == theirs == apart == []
    assert known(here.receipt) == []
    assert {i.reason for i in of_kind(here.receipt, SourceKind.fact, included=False)} == {
        "stands among the recent messages"
    }


async def test_switched_off_none_is_written_and_none_shown(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, [*pets("Zamiko"), *rain(N - 1)])
    await set_to(runtime, owner, {"facts": {"enabled": False}})
    async with database.stores(owner.id) as stores:
        other = (await stores.conversations.create("other")).id
    await tell(runtime, owner, other, [*pets("Orvelo"), *rain(N - 1)])

    seen = await window(runtime, owner, None, "What is my dog called?", memory=True)

    assert dogs(await facts(runtime, owner)) == ["The user's dog is called Zamiko."]
    assert known(seen.receipt) == []


async def test_so_many_facts_stand_in_a_window_as_are_asked_for(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, pets("Zamiko", "Orvelo", "Tamira", "Belfo"))
    await set_to(runtime, owner, {"facts": {"top_k": 2}})

    seen = await window(runtime, owner, None, "How are my animals called?", memory=True)

    assert len(known(seen.receipt)) == 2
    assert len(known(seen.receipt, included=False)) == 2


async def test_a_conversation_told_twice_over_by_killed_processes_has_each_fact_once(
    runtime: Runtime, database_url: str, owner: User, chat: UUID
) -> None:
    await runtime.store_messages(owner, chat, pets("Zamiko", "Orvelo", "Tamira", "Belfo"))
    await runtime.database.pool.wait()
    process = await hammer(database_url, owner, chat, 4 * N)
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"said"
    await until_written(runtime, owner, chat, 2)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with open_runtime(settings(database_url)) as lab:
        await lab.summarise(owner, chat)

    ones = [s for s in await every(runtime, owner, chat) if s.level == 1]
    found = await facts(runtime, owner, history=True)

    assert len(ones) == 5
    for one in ones:
        of_it = sorted((f for f in found if f.summary_id == one.id), key=lambda f: f.position)
        assert [f.text for f in of_it] == [fact.text for fact in in_sentences(one.text)]
        assert [f.position for f in of_it] == list(range(len(of_it)))
    assert {fact.summary_id for fact in found} <= {one.id for one in ones}


class Scripted:
    """The pipelines of a lab, with another chat model."""

    def __init__(self, lab: Runtime, chat: Copyist) -> None:
        self._lab, self._chat = lab, chat

    @asynccontextmanager
    async def chat(self, model_id: str, **_: object) -> AsyncIterator[ChatPipeline]:
        yield self._chat

    @asynccontextmanager
    async def embedding(self) -> AsyncIterator[EmbeddingPipeline]:
        async with self._lab.pipelines.embedding() as embedding:
            yield embedding


async def extracted(runtime: Runtime, owner: User, chat: UUID, model: Copyist) -> None:
    """Let a model that follows instructions write what is due."""
    summariser = Summariser(
        runtime.database,
        Scripted(runtime, model),
        runtime.preferences,
    )
    await summariser.finish(Job(owner, chat))


async def stored(runtime: Runtime, owner: User, chat: UUID, texts: Sequence[str]) -> None:
    """Store messages without waking whoever summarises."""
    at = datetime(2026, 11, 20, tzinfo=UTC)
    messages = [
        SaidMessage(role=Role.user, content=text, said_at=at + timedelta(hours=i))
        for i, text in enumerate(texts)
    ]
    async with runtime.pipelines.embedding() as embedding:
        await Turns(runtime.database, owner.id, chat, embedding).keep(messages)


async def test_a_model_that_follows_instructions_is_asked_for_facts_in_its_own_words(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await stored(
        runtime, owner, chat, ["I moved to Oslo.", "Hi.", "Hello.", "The trip is on 3 May."]
    )
    first = Copyist(4000, "- the user's home: Oslo\n- the trip: 3 May\nThat is all.")
    await extracted(runtime, owner, chat, first)
    await stored(runtime, owner, chat, ["I moved to Rome.", "Hi.", "Hello.", "Bye."])
    second = Copyist(4000, "The user's  home: Rome")

    await extracted(runtime, owner, chat, second)

    found = await facts(runtime, owner, history=True)
    assert [(f.text, f.valid_until is None) for f in found] == [
        ("The user's home: Rome", True),
        ("the trip: 3 May", True),
        ("the user's home: Oslo", False),
    ]
    system, lines = second.asked[-1]
    assert "- the user's home" in system
    assert lines.splitlines()[0] == "2026-11-20 user: I moved to Rome."
    async with database.stores(owner.id) as stores:
        (day,) = await stores.usage.days(owner.name, datetime.now(UTC) - timedelta(days=1))
    # A summary and its facts, twice.
    assert day.n_generations == len(first.asked) + len(second.asked) == 4
