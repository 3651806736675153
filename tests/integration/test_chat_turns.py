"""A chat turn through the runtime: real database, real embeddings, the bundled model."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from uuid import UUID

import pytest

from lab.config import load_settings
from lab.db import Database
from lab.db.conversations import NEW_CHAT
from lab.errors import NotFoundError
from lab.messages import text_of
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.run_status import RunStatus
from lab.schemas.source_kind import SourceKind
from lab.schemas.user import User
from lab.workflows import chat

pytestmark = pytest.mark.integration

SHORT = GenerationParameters(max_new_tokens=12)


@pytest.fixture(scope="module")
async def runtime(database_url: str) -> AsyncIterator[Runtime]:
    environ = {"LAB_DATABASE_URL": database_url, "LAB_CHAT_THREADS": "1"}
    # What runs in the background takes leases, which are counted here.
    settings = load_settings(None, {**environ, "LAB_SUMMARIES_ENABLED": "false"})
    async with open_runtime(settings) as runtime:
        yield runtime


@pytest.fixture
async def conversation_id(database: Database, owner: User) -> UUID:
    async with database.stores(owner.id) as stores:
        return (await stores.conversations.create("Named")).id


def user(text: str) -> ChatMessage:
    return ChatMessage(role=Role.user, content=text)


async def said(runtime: Runtime, owner: User, turn: ChatTurn) -> list[Event]:
    return [event async for event in runtime.answering.stream(owner, turn)]


def receipt_of(events: Sequence[Event]) -> Receipt:
    (data,) = [e.data for e in events if e.type is EventType.receipt]
    return Receipt.model_validate(data["receipt"])


async def test_a_turn_tells_what_happens_and_keeps_it(
    runtime: Runtime, database: Database, owner: User, conversation_id: UUID
) -> None:
    turn = ChatTurn(messages=[user("Hello.")], conversation_id=conversation_id, parameters=SHORT)

    events = await said(runtime, owner, turn)

    types = [e.type for e in events if e.type is not EventType.content]
    assert types == [
        EventType.run_started,
        EventType.message_stored,
        EventType.receipt,
        EventType.usage,
        EventType.message_stored,
        EventType.run_completed,
    ]
    assert [e.position for e in events] == list(range(len(events)))
    async with database.stores(owner.id) as stores:
        question, answer = await stores.messages.list(conversation_id)
        run = await stores.runs.get(events[0].run_id)
    streamed = "".join(e.data["text"] for e in events if e.type is EventType.content)
    assert (text_of(question.parts), text_of(answer.parts)) == ("Hello.", streamed)
    assert run.status is RunStatus.completed
    assert run.receipt == receipt_of(events)
    assert run.usage is not None
    assert run.usage.prompt_tokens == receipt_of(events).n_tokens


async def test_what_was_said_long_ago_stands_among_the_memories(
    runtime: Runtime, owner: User, conversation_id: UUID
) -> None:
    await runtime.store_messages(owner, conversation_id, [user("My sister is called Tamiko.")])
    for i in range(8):
        talk = [user(f"It rained on day {i}, {n}, and I stayed at home.") for n in range(25)]
        await runtime.store_messages(owner, conversation_id, talk)
    turn = ChatTurn(
        messages=[user("What is my sister called?")],
        conversation_id=conversation_id,
        parameters=SHORT,
        store=False,
    )

    receipt = receipt_of(await said(runtime, owner, turn))
    without = receipt_of(await said(runtime, owner, turn.model_copy(update={"memory": False})))

    memories = [i for i in receipt.items if i.kind is SourceKind.memory and i.included]
    assert "My sister is called Tamiko." in [item.text for item in memories]
    assert receipt.n_tokens <= receipt.context_length - receipt.answer_tokens
    assert all("Tamiko" not in item.text for item in without.items if item.included)


async def test_a_long_stateless_history_is_searched(runtime: Runtime, owner: User) -> None:
    history = [user("My boat is called Orvelo.")]
    history += [user(f"It rained on day {i} and I stayed at home.") for i in range(150)]
    turn = ChatTurn(messages=[*history, user("What is my boat called?")], parameters=SHORT)

    receipt = receipt_of(await said(runtime, owner, turn))

    memories = [i.text for i in receipt.items if i.kind is SourceKind.memory and i.included]
    assert "My boat is called Orvelo." in memories


async def test_the_same_seed_gives_the_same_text_stored_or_stateless(
    runtime: Runtime, owner: User, conversation_id: UUID
) -> None:
    warm = GenerationParameters(max_new_tokens=12, temperature=1.0, seed=7)
    stateless = ChatTurn(messages=[user("Tell me something.")], parameters=warm)
    stored = stateless.model_copy(update={"conversation_id": conversation_id})

    texts = [
        "".join(e.data["text"] for e in await said(runtime, owner, turn) if e.type == "content")
        for turn in (stateless, stored, stateless)
    ]

    assert texts[0] == texts[1] == texts[2] != ""


async def test_closing_the_stream_frees_the_slot_and_keeps_what_was_said(
    runtime: Runtime, database: Database, owner: User, conversation_id: UUID
) -> None:
    endless = GenerationParameters(max_new_tokens=800, temperature=2.0, seed=1)
    turn = ChatTurn(messages=[user("Talk.")], conversation_id=conversation_id, parameters=endless)

    async with aclosing(runtime.answering.stream(owner, turn)) as events:
        async for event in events:
            if event.type is EventType.content:
                break

    assert runtime.pipelines.stats().active_streams == 0
    assert runtime.pipelines.stats().leases == 0
    async with database.stores(owner.id) as stores:
        messages = await stores.messages.list(conversation_id)
        run = await stores.runs.get(event.run_id)
    assert [m.role for m in messages] == [Role.user, Role.assistant]
    assert run.status is RunStatus.cancelled


async def test_many_turns_at_once_share_the_batch(runtime: Runtime, owner: User) -> None:
    turns = [ChatTurn(messages=[user(f"Number {i}")], parameters=SHORT) for i in range(32)]

    runs = await asyncio.gather(*(said(runtime, owner, turn) for turn in turns))

    assert {events[-1].type for events in runs} == {EventType.run_completed}


async def test_a_question_longer_than_the_window_fails_with_the_figures(
    runtime: Runtime, database: Database, owner: User
) -> None:
    turn = ChatTurn(messages=[user("word " * 3000)])

    *_, last = await said(runtime, owner, turn)

    assert (last.type, last.data["code"]) == (EventType.run_failed, "context_length_exceeded")
    async with database.stores(owner.id) as stores:
        run = await stores.runs.get(last.run_id)
    assert run.status is RunStatus.failed


async def test_a_fault_of_the_lab_ends_the_run_and_names_it(
    runtime: Runtime, database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(chat, "build_window", broken)

    events = await said(runtime, owner, ChatTurn(messages=[user("Hello.")]))

    last = events[-1]
    assert (last.type, last.data["status"]) == (EventType.run_failed, 500)
    assert str(last.run_id) in last.data["message"]
    assert "secret detail" not in last.data["message"]
    async with database.stores(owner.id) as stores:
        assert (await stores.runs.get(last.run_id)).status is RunStatus.failed


async def test_nobody_talks_in_the_conversation_of_another(
    runtime: Runtime, other_owner: User, conversation_id: UUID
) -> None:
    turn = ChatTurn(messages=[user("Hello.")], conversation_id=conversation_id)

    (failed,) = await said(runtime, other_owner, turn)

    assert (failed.data["code"], failed.data["status"]) == ("not_found", 404)


async def test_what_is_not_stored_stands_in_the_window_all_the_same(
    runtime: Runtime, owner: User, conversation_id: UUID
) -> None:
    await runtime.store_messages(owner, conversation_id, [user("Hello.")])
    given = ["My dog is called Zamiko.", "What is my dog called?"]
    turn = ChatTurn(
        messages=[user(text) for text in given],
        conversation_id=conversation_id,
        store=False,
        parameters=SHORT,
    )

    receipt = receipt_of(await said(runtime, owner, turn))

    there = [item.text for item in receipt.items if item.included]
    assert there[-3:] == ["Hello.", *given]


async def test_a_chat_is_named_after_its_first_exchange(
    runtime: Runtime, database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        id = (await stores.conversations.create(NEW_CHAT)).id
    noted = ChatMessage(role=Role.assistant, content="Noted.")
    await runtime.store_messages(owner, id, [user("My dog is called Zamiko."), noted])
    await runtime.store_messages(owner, id, [user("My sister is called Tamiko."), noted])

    await said(runtime, owner, ChatTurn(messages=[user("Hello.")], conversation_id=id))
    await runtime.aclose()

    async with database.stores(owner.id) as stores:
        assert (await stores.conversations.get(id)).title == "The dog called Zamiko"


async def test_nothing_found_of_another_user(
    runtime: Runtime, owner: User, other_owner: User, conversation_id: UUID
) -> None:
    await runtime.store_messages(owner, conversation_id, [user("My sister is called Tamiko.")])
    turn = ChatTurn(messages=[user("What is my sister called?")], memory=True, parameters=SHORT)

    receipt = receipt_of(await said(runtime, other_owner, turn))

    assert all("Tamiko" not in item.text for item in receipt.items)


async def test_deleting_a_conversation_deletes_its_checkpoints(
    runtime: Runtime, owner: User, conversation_id: UUID
) -> None:
    turn = ChatTurn(messages=[user("Hello.")], conversation_id=conversation_id, parameters=SHORT)
    await said(runtime, owner, turn)
    assert await n_checkpoints(runtime) > 0

    await runtime.delete_conversation(owner, conversation_id)

    assert await n_checkpoints(runtime) == 0
    with pytest.raises(NotFoundError):
        await runtime.delete_conversation(owner, conversation_id)


async def test_a_conversation_that_is_deleted_under_a_turn_leaves_no_checkpoint(
    runtime: Runtime, owner: User, conversation_id: UUID
) -> None:
    long = GenerationParameters(max_new_tokens=100, temperature=2.0, seed=1)
    turn = ChatTurn(messages=[user("Talk.")], conversation_id=conversation_id, parameters=long)
    is_there = True
    async for event in runtime.answering.stream(owner, turn):
        if event.type is EventType.content and is_there:
            await runtime.delete_conversation(owner, conversation_id)
            is_there = False

    assert event.type is EventType.run_failed
    assert await n_checkpoints(runtime) == 0


async def test_checkpoints_that_a_killed_lab_left_are_deleted_by_the_next_start(
    runtime: Runtime, owner: User, conversation_id: UUID
) -> None:
    turn = ChatTurn(messages=[user("Hello.")], conversation_id=conversation_id, parameters=SHORT)
    await said(runtime, owner, turn)
    async with runtime.database.stores(owner.id) as stores:
        await stores.conversations.delete(conversation_id)
    assert await n_checkpoints(runtime) > 0

    async with open_runtime(runtime.settings):
        pass

    assert await n_checkpoints(runtime) == 0


async def test_a_stateless_turn_leaves_no_checkpoint(runtime: Runtime, owner: User) -> None:
    await said(runtime, owner, ChatTurn(messages=[user("Hello.")], parameters=SHORT))
    assert await n_checkpoints(runtime) == 0


async def n_checkpoints(runtime: Runtime) -> int:
    async with runtime.database.pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM checkpoints) + (SELECT count(*) FROM checkpoint_writes)"
            " + (SELECT count(*) FROM checkpoint_blobs)"
        )
        row = await cursor.fetchone()
    assert row is not None
    return int(next(iter(row.values()) if isinstance(row, dict) else iter(row)))
