"""Interrupted turns go on after their last finished step, and steps are kept within bounds."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from langgraph.runtime import Runtime as GraphRuntime
from langgraph.types import interrupt

from lab.config import load_settings
from lab.db import Database
from lab.db.events import EventStore
from lab.errors import ConflictError, InputError
from lab.messages import text_of
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from lab.workflows import chat
from lab.workflows.context import ChatContext
from lab.workflows.recording import Recorder
from lab.workflows.running import LiveRun
from tests.integration.conftest import execute
from tests.tiny_llama import UNGUARDED, save_tiny_llama

pytestmark = pytest.mark.integration

QUESTION = "Talk to me."


@pytest.fixture(scope="module")
async def runtime(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Runtime]:
    model = save_tiny_llama(tmp_path_factory.mktemp("model"), 2048)
    environ = {"LAB_DATABASE_URL": database_url, "LAB_CHAT_MODEL": str(model), **UNGUARDED}
    environ |= {"LAB_CHAT_THREADS": "1", "LAB_SUMMARIES_ENABLED": "false"}
    async with open_runtime(load_settings(None, environ)) as runtime:
        yield runtime


def turn(conversation: UUID, *, most: int = 40, **options: Any) -> ChatTurn:
    return ChatTurn(
        messages=[ChatMessage(role=Role.user, content=QUESTION)],
        conversation_id=conversation,
        parameters=GenerationParameters(max_new_tokens=most, temperature=1.0, seed=3),
        memory=False,
        **options,
    )


async def new_chat(database: Database, owner: User) -> UUID:
    async with database.stores(owner.id) as stores:
        return (await stores.conversations.create("Named")).id


async def said(database: Database, owner: User, conversation: UUID) -> list[tuple[Role, str]]:
    async with database.stores(owner.id) as stores:
        messages = await stores.messages.list(conversation)
    return [(message.role, text_of(message.parts)) for message in messages]


def answer_of(events: Sequence[Event]) -> str:
    return "".join(event.data["text"] for event in events if event.type is EventType.content)


async def test_a_turn_that_is_interrupted_at_random_moments_ends_as_if_it_was_not(
    runtime: Runtime, database: Database, owner: User
) -> None:
    whole = await new_chat(database, owner)
    undisturbed = [event async for event in runtime.answering.stream(owner, turn(whole, most=200))]
    chance, n_resumed = random.Random(1), 0
    for _ in range(3):
        conversation = await new_chat(database, owner)
        live = await runtime.answering.begin(owner, turn(conversation, most=200))
        for _ in range(5):
            await asyncio.sleep(chance.random() * 0.2)
            stopped = await runtime.running.stop(owner.id, live.log.run_id, RunStatus.interrupted)
            if stopped.status is RunStatus.completed:
                break
            live = await gone_on(runtime, owner, live.log.run_id) or await runtime.answering.begin(
                owner, turn(conversation, most=200)
            )
            n_resumed += 1
        events = [event async for event in live.follow()]

        assert await said(database, owner, conversation) == await said(database, owner, whole)
        assert answer_of(events) == answer_of(undisturbed)
        assert EventType.receipt in {event.type for event in events}
    assert n_resumed >= 3


async def gone_on(runtime: Runtime, owner: User, run_id: UUID) -> LiveRun | None:
    """Go on with a run; None where its question was not stored yet."""
    try:
        return await runtime.answering.resume(owner, run_id)
    except ConflictError as error:
        if "was not stored" in str(error):
            return None
        raise


async def test_only_what_was_interrupted_last_can_be_gone_on_with(
    runtime: Runtime, database: Database, owner: User, other_owner: User
) -> None:
    conversation = await new_chat(database, owner)
    (done, *_) = [event async for event in runtime.answering.stream(owner, turn(conversation))]
    left = await runtime.answering.begin(owner, turn(conversation, most=1500))
    await anext(left.follow(after=3))
    await runtime.answering.pause(owner, left.log.run_id)
    with pytest.raises(InputError, match="asks nothing"):
        await runtime.answering.resume(owner, left.log.run_id, "yes")
    [event async for event in runtime.answering.stream(owner, turn(conversation))]

    for run_id, why in ((done.run_id, "completed"), (left.log.run_id, "went on")):
        with pytest.raises(ConflictError, match=why):
            await runtime.answering.resume(owner, run_id)
    with pytest.raises(LookupError):
        await runtime.answering.resume(other_owner, left.log.run_id)


async def interrupted(runtime: Runtime, owner: User, conversation: UUID, most: int) -> UUID:
    """Begin a turn, interrupt it while its answer streams, and return its run."""
    left = await runtime.answering.begin(owner, turn(conversation, most=most))
    await anext(left.follow(after=3))
    await runtime.answering.pause(owner, left.log.run_id)
    return left.log.run_id


async def test_a_turn_is_gone_on_with_once(
    runtime: Runtime, database: Database, owner: User, database_url: str
) -> None:
    conversation = await new_chat(database, owner)
    run_id = await interrupted(runtime, owner, conversation, most=400)
    both = await asyncio.gather(
        *(runtime.answering.resume(owner, run_id) for _ in range(2)), return_exceptions=True
    )
    live = next(one for one in both if isinstance(one, LiveRun))
    with pytest.raises(ConflictError, match="goes on"):
        raise next(one for one in both if isinstance(one, Exception))
    *_, last = [event async for event in live.follow()]
    with pytest.raises(ConflictError, match="completed"):
        await runtime.answering.resume(owner, run_id)

    assert last.type is EventType.run_completed
    assert [role for role, _ in await said(database, owner, conversation)] == ["user", "assistant"]
    counts = "SELECT (SELECT count(*) FROM usage), (SELECT count(*) FROM runs)"
    assert await execute(database_url, counts) == [(1, 2)]


async def test_a_turn_that_came_while_another_was_resumed_is_not_gone_on_with(
    runtime: Runtime, database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await new_chat(database, owner)
    run_id = await interrupted(runtime, owner, conversation, most=1500)
    start = Recorder.start

    async def after_another(self: Recorder, *args: Any) -> None:
        monkeypatch.setattr(Recorder, "start", start)
        [event async for event in runtime.answering.stream(owner, turn(conversation))]
        await start(self, *args)

    monkeypatch.setattr(Recorder, "start", after_another)
    live = await runtime.answering.resume(owner, run_id)
    *_, last = [event async for event in live.follow()]

    assert (last.type, last.data["code"]) == (EventType.run_failed, "conflict")
    roles = [role for role, _ in await said(database, owner, conversation)]
    assert roles == ["user", "user", "assistant"]


async def test_a_run_that_is_being_ended_is_not_ended_otherwise(
    runtime: Runtime, database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await new_chat(database, owner)
    live = await runtime.answering.begin(owner, turn(conversation, most=1500))
    await anext(live.follow(after=3))
    is_closing, goes_on, keep = asyncio.Event(), asyncio.Event(), Recorder.keep_answer

    async def keep_slowly(self: Recorder, result: ChatResult | None) -> list[Message]:
        is_closing.set()
        await goes_on.wait()
        return await keep(self, result)

    monkeypatch.setattr(Recorder, "keep_answer", keep_slowly)
    stop = partial(runtime.running.stop, owner.id, live.log.run_id)
    first = asyncio.create_task(stop(RunStatus.cancelled))
    await is_closing.wait()
    second = asyncio.create_task(stop(RunStatus.interrupted))
    await asyncio.wait([second], timeout=0.1)
    goes_on.set()
    ended = await asyncio.gather(first, second)
    *_, last = [event async for event in live.follow()]

    assert [run.status for run in ended] == [RunStatus.cancelled] * 2
    assert last.type is EventType.run_cancelled
    assert [role for role, _ in await said(database, owner, conversation)] == ["user", "assistant"]


async def test_what_cannot_be_stored_of_a_run_leaves_the_others_alone(
    runtime: Runtime, database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = [await new_chat(database, owner) for _ in range(2)]
    bad, good = [await runtime.answering.begin(owner, turn(chat, most=1500)) for chat in chats]
    extend = EventStore.extend

    async def failing(self: EventStore, runs: Mapping[UUID, Sequence[Event]]) -> None:
        if bad.log.run_id in runs:
            raise ZeroDivisionError
        await extend(self, runs)

    monkeypatch.setattr(EventStore, "extend", failing)
    async with asyncio.timeout(30):
        for live in (bad, good):  # what nothing was written of has no answer to store
            await until_content(live)
        while not await stored_events(database, owner, good):
            await asyncio.sleep(0.05)
    ended = [
        await runtime.running.stop(owner.id, live.log.run_id, RunStatus.cancelled)
        for live in (bad, good)
    ]

    assert [run.status for run in ended] == [RunStatus.cancelled] * 2
    assert [len(await said(database, owner, chat)) for chat in chats] == [2, 2]


async def until_content(live: LiveRun) -> None:
    async with aclosing(live.follow()) as events:
        async for event in events:
            if event.type is EventType.content:
                return


async def stored_events(database: Database, owner: User, live: LiveRun) -> list[Event]:
    async with database.stores(owner.id) as stores:
        return await stores.events.list(live.log.run_id)


async def test_a_turn_with_a_setting_that_is_locked_meanwhile_is_gone_on_with(
    runtime: Runtime, database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = await new_chat(database, owner)
    short = GenerationParameters(max_new_tokens=1500)
    asked = turn(conversation).model_copy(update={"parameters": short})
    live = await runtime.answering.begin(owner, asked)
    begun = await anext(live.follow())
    await anext(live.follow(after=3))
    await runtime.answering.pause(owner, live.log.run_id)
    locked = load_settings(None, {"LAB_LIMITS_LOCKED": '["generation.seed"]'})
    monkeypatch.setattr(runtime, "settings", locked)
    again = await runtime.answering.resume(owner, live.log.run_id)
    begun_again = await anext(again.follow())
    await again.stop(RunStatus.cancelled)

    assert begun_again.data["seed"] == begun.data["seed"]


async def test_deleting_a_message_deletes_what_all_runs_of_its_turn_told(
    runtime: Runtime, database: Database, owner: User, database_url: str
) -> None:
    conversation = await new_chat(database, owner)
    live = await runtime.answering.resume(
        owner, await interrupted(runtime, owner, conversation, 400)
    )
    await live.wait()
    async with database.stores(owner.id) as stores:
        (_, answer) = await stores.messages.list(conversation)
        await stores.messages.delete(answer.id)

    assert await execute(database_url, "SELECT run_id FROM events") == []


async def test_a_step_that_asks_waits_for_the_reply(
    runtime: Runtime, database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = chat.generate

    async def asking(state: chat.State, runtime: GraphRuntime[ChatContext]) -> chat.State:
        if interrupt({"allow": "an answer"}) != "yes":
            raise InputError("It was not allowed.")
        return await generate(state, runtime)

    monkeypatch.setattr(chat, "generate", asking)
    monkeypatch.setattr(runtime.composer, "_graphs", {})
    conversation = await new_chat(database, owner)

    *_, asked = [event async for event in runtime.answering.stream(owner, turn(conversation))]
    with pytest.raises(ConflictError, match="allow"):
        await runtime.answering.resume(owner, asked.run_id)
    live = await runtime.answering.resume(owner, asked.run_id, "yes")
    *_, last = [event async for event in live.follow()]

    assert asked.type is EventType.run_interrupted
    assert [ask["value"] for ask in asked.data["asks"]] == [{"allow": "an answer"}]
    assert last.type is EventType.run_completed
    assert [role for role, _ in await said(database, owner, conversation)] == ["user", "assistant"]


async def test_steps_are_kept_of_the_last_turns_alone(
    runtime: Runtime, database: Database, owner: User, database_url: str
) -> None:
    conversation = await new_chat(database, owner)
    kept: dict[str, Any] = {"settings": {"workflow": {"keep_turns": 2}}}
    counts = []
    for _ in range(5):
        [event async for event in runtime.answering.stream(owner, turn(conversation, **kept))]
        await runtime._afterwards.aclose()
        tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
        counts.append(
            [(await execute(database_url, f"SELECT count(*) FROM {t}"))[0][0] for t in tables]
        )
    graph = runtime.composer.compose("chat", checkpointed=True)
    config: Any = {"configurable": {"thread_id": str(conversation)}}
    states = [state async for state in graph.aget_state_history(config)]

    assert counts[2] == counts[3] == counts[4]
    assert [s.metadata["source"] for s in states if s.metadata].count("input") == 2
    assert all("window" in state.values for state in states if "record" in state.next)


@dataclass
class Unknown:
    """What no checkpoint may make."""

    text: str


async def test_a_checkpoint_holds_plain_data_alone(runtime: Runtime) -> None:
    serde = runtime.composer._checkpointer.serde

    read = serde.loads_typed(serde.dumps_typed({"a": [1, "b"], "c": Unknown("x")}))

    assert read["a"] == [1, "b"]
    assert not isinstance(read["c"], Unknown)
