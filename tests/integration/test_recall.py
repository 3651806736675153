"""Recall with real embeddings: what a person would say bears on the question comes first."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from lab.config import load_settings
from lab.db import Database
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.user import User
from lab.schemas.window_request import WindowRequest
from lab.workflows.turns import Turn, Turns

pytestmark = pytest.mark.integration

TALK = [
    ("Ann", "Hi Bob! How have you been?"),
    ("Bob", "Busy. The roof of the house leaked all week."),
    ("Ann", "Oh no. Which instrument did you choose in the end?"),
    ("Bob", "The one with the black and white keys, of course."),
    ("Ann", "Lovely. I still have my old violin somewhere."),
    ("Bob", "The invoice number of the roofer is QX-4417, if you need one."),
    ("Ann", "Thanks, Bob. It rains here too."),
    ("Bob", "See you on Sunday."),
]


@pytest.fixture(scope="module")
async def runtime(database_url: str) -> AsyncIterator[Runtime]:
    async with open_runtime(load_settings(None, {"LAB_DATABASE_URL": database_url})) as runtime:
        yield runtime


@pytest.fixture
async def conversation_id(database: Database, owner: User, runtime: Runtime) -> UUID:
    async with database.stores(owner.id) as stores:
        id = (await stores.conversations.create("Ann and Bob")).id
    messages = [ChatMessage(role=Role.user, name=name, content=text) for name, text in TALK]
    await runtime.store_messages(owner, id, messages)
    return id


async def found(runtime: Runtime, owner: User, question: str, limit: int = 2) -> list[str]:
    return [hit.memory.text for hit in await runtime.search_memories(owner, question, limit)]


@pytest.mark.usefixtures("conversation_id")
@pytest.mark.parametrize(
    ("question", "bears_on_it"),
    [
        ("What was wrong with the building?", 1),  # meaning
        ("Who sent QX-4417?", 5),  # a word that no embedding knows
        ("Which instrument does Bob play?", 3),  # what came before it, and who spoke
        ("Which instrument does Ann play?", 4),
    ],
)
async def test_what_bears_on_a_question_is_found(
    runtime: Runtime, owner: User, question: str, bears_on_it: int
) -> None:
    assert TALK[bears_on_it][1] in await found(runtime, owner, question)


@pytest.mark.usefixtures("conversation_id")
async def test_hits_say_who_spoke_and_how_sure_they_are(runtime: Runtime, owner: User) -> None:
    hits = await runtime.search_memories(owner, "Did the roof leak?", 8)

    assert (hits[0].memory.name, hits[0].memory.position) == ("Bob", 1)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert hits[0].similarity == max(hit.similarity or 0 for hit in hits)


@pytest.mark.parametrize("n_words_before", [0, 300])
async def test_a_bare_reply_is_found_by_what_it_replies_to(
    runtime: Runtime, database: Database, owner: User, n_words_before: int
) -> None:
    async with database.stores(owner.id) as stores:
        id = (await stores.conversations.create("A reply")).id
    before = "The weather stays fine. " * (n_words_before // 4)
    talk = [(Role.assistant, f"{before}Where do you live?"), (Role.user, "Raimo.")]
    await runtime.store_messages(owner, id, [ChatMessage(role=r, content=t) for r, t in talk])

    question = ChatMessage(role=Role.user, content="Which town is my home in?")
    turn = ChatTurn(messages=[question], memory=True)
    window = await runtime.answering.window(owner, WindowRequest(turn=turn))

    assert "user: Raimo." in (window.messages[0].content or "")


async def test_nothing_was_said_and_nothing_is_found(runtime: Runtime, owner: User) -> None:
    assert await found(runtime, owner, "Did the roof leak?") == []


async def test_turns_that_say_nothing_are_stored_and_never_found(
    runtime: Runtime, database: Database, owner: User, conversation_id: UUID
) -> None:
    call = ToolCall(id="1", name="search", arguments={})
    silent = ChatMessage(role=Role.assistant, tool_calls=[call])
    blank = ChatMessage(role=Role.user, content="  ")
    told = ChatMessage(role=Role.tool, tool_call_id="1", content="Zurich won the match.")

    await runtime.store_messages(owner, conversation_id, [silent])
    await runtime.store_messages(owner, conversation_id, [blank, silent, told, blank])

    async with database.stores(owner.id) as stores:
        assert len(await stores.messages.list(conversation_id)) == len(TALK) + 5
        assert len(await stores.memories.list()) == len(TALK)


async def test_a_turn_said_elsewhere_keeps_its_date_and_its_speaker(
    runtime: Runtime, database: Database, owner: User, conversation_id: UUID
) -> None:
    said_at = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    turn = Turn(Role.user, [TextPart(text="I sold the boat.")], "Eve", said_at)
    async with runtime.pipelines.embedding() as embedding:
        turns = Turns(database, owner.id, conversation_id, embedding)
        (message,) = await turns.keep_turns([turn], None)

    (hit,) = await runtime.search_memories(owner, "Which boat did Eve sell?", 1)

    assert (message.name, message.created_at) == ("Eve", said_at)
    assert (hit.memory.text, hit.memory.created_at) == ("I sold the boat.", said_at)
