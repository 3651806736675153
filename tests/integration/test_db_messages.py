"""Turns keep their order, whoever writes at the same time."""

import asyncio
from uuid import UUID

import pytest

from lab.db import Database
from lab.errors import NotFoundError
from lab.messages import Part
from lab.schemas.conversation import Conversation
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.schemas.user import User

pytestmark = pytest.mark.integration


@pytest.fixture
async def conversation(database: Database, owner: User) -> Conversation:
    async with database.stores(owner.id) as stores:
        return await stores.conversations.create("chat")


async def say(database: Database, owner: User, conversation_id: UUID, text: str) -> None:
    async with database.stores(owner.id) as stores:
        await stores.messages.add(conversation_id, Role.user, [TextPart(text=text)])


async def test_twenty_writers_at_once_leave_no_gap(
    database: Database, owner: User, conversation: Conversation
) -> None:
    said = [f"message {n}" for n in range(20)]

    await asyncio.gather(*(say(database, owner, conversation.id, text) for text in said))

    async with database.stores(owner.id) as stores:
        messages = await stores.messages.list(conversation.id)
        counted = await stores.conversations.get(conversation.id)
    assert [m.position for m in messages] == list(range(20))
    assert sorted(part.text for m in messages for part in m.parts) == sorted(said)  # type: ignore[union-attr]
    assert counted.n_messages == 20


async def test_a_writer_who_fails_leaves_no_gap(
    database: Database, owner: User, conversation: Conversation
) -> None:
    async def fail() -> None:
        async with database.stores(owner.id) as stores:
            await stores.messages.add(conversation.id, Role.user, [])
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail()
    await say(database, owner, conversation.id, "hello")

    async with database.stores(owner.id) as stores:
        (message,) = await stores.messages.list(conversation.id)
    assert message.position == 0


async def test_every_kind_of_part_comes_back(
    database: Database, owner: User, conversation: Conversation
) -> None:
    call = ToolCall(id="1", name="search", arguments={"query": "Zürich 🏔", "n": 3})
    parts: list[Part] = [ThinkingPart(text="hm"), ToolCallPart(tool_call=call), TextPart(text="so")]
    async with database.stores(owner.id) as stores:
        added = await stores.messages.add(conversation.id, Role.assistant, parts)
    async with database.stores(owner.id) as stores:
        (read,) = await stores.messages.list(conversation.id)

    assert read == added
    assert read.parts == parts


async def test_the_last_turns_before_a_position_come_oldest_first(
    database: Database, owner: User, conversation: Conversation
) -> None:
    for n in range(5):
        await say(database, owner, conversation.id, str(n))
    async with database.stores(owner.id) as stores:
        last = await stores.messages.list(conversation.id, limit=2)
        before = await stores.messages.list(conversation.id, limit=2, before_position=3)

    assert [m.position for m in last] == [3, 4]
    assert [m.position for m in before] == [1, 2]


async def test_a_deleted_turn_keeps_the_positions_of_the_others(
    database: Database, owner: User, conversation: Conversation
) -> None:
    for n in range(3):
        await say(database, owner, conversation.id, str(n))
    async with database.stores(owner.id) as stores:
        middle = (await stores.messages.list(conversation.id))[1]
        await stores.messages.delete(middle.id)
    await say(database, owner, conversation.id, "3")

    async with database.stores(owner.id) as stores:
        assert [m.position for m in await stores.messages.list(conversation.id)] == [0, 2, 3]
        assert (await stores.conversations.get(conversation.id)).n_messages == 3


async def test_an_empty_conversation_is_not_a_missing_one(
    database: Database, owner: User, conversation: Conversation
) -> None:
    async with database.stores(owner.id) as stores:
        assert await stores.messages.list(conversation.id) == []
        with pytest.raises(NotFoundError):
            await stores.messages.list(owner.id)
