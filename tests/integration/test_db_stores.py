"""Every store keeps the contract of owned rows; what one store does besides comes after."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from lab.db import Database, Stores
from lab.db.facts import Statement
from lab.db.ids import new_id
from lab.db.summaries import Sources
from lab.errors import ConflictError, InputError, NotFoundError
from lab.protocols import Passage
from lab.schemas.api_key import ApiKey
from lab.schemas.conversation import Conversation
from lab.schemas.document import Document
from lab.schemas.eval_run import EvalRun
from lab.schemas.event_type import EventType
from lab.schemas.fact import Fact
from lab.schemas.memory import Memory
from lab.schemas.message import Message
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.schedule import Schedule
from lab.schemas.scope import Scope
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.text_part import TextPart
from lab.schemas.usage import Usage
from lab.schemas.user import User
from tests.contracts.owned_store import OwnedStoreContract, PagedStoreContract

pytestmark = pytest.mark.integration

numbers = count()


class TestConversationStore(PagedStoreContract):
    name = "conversations"

    async def create(self, stores: Stores) -> Conversation:
        return await stores.conversations.create(f"chat {next(numbers)}")

    async def change(self, stores: Stores, id: UUID) -> None:
        await stores.conversations.update(id, title="new title")


class TestMessageStore(OwnedStoreContract):
    name = "messages"

    async def create(self, stores: Stores) -> Message:
        found = await stores.conversations.list(1)
        conversation = found[0] if found else await stores.conversations.create("chat")
        return await stores.messages.add(conversation.id, Role.user, [TextPart(text="hello")])

    async def listed(self, stores: Stores, like: Message) -> list[Message]:
        return await stores.messages.list(like.conversation_id)


class TestMemoryStore(PagedStoreContract):
    name = "memories"

    async def create(self, stores: Stores) -> Memory:
        message = await TestMessageStore().create(stores)
        vector = np.ones(768, dtype=np.float32)
        return await stores.memories.add(message, "hello", vector, model="model@1")


class TestDocumentStore(PagedStoreContract):
    name = "documents"

    async def create(self, stores: Stores) -> Document:
        made = await stores.documents.add(
            text := f"document {next(numbers)}",
            [Passage(0, len(text), text)],
            np.ones((1, 768), dtype=np.float32),
            name="a.txt",
            media_type="text/plain",
            sha256=sha256(text.encode()).hexdigest(),
            n_bytes=len(text),
            embedding_model="m",
        )
        assert made is not None
        return made


class TestSummaryStore(OwnedStoreContract):
    name = "summaries"

    async def create(self, stores: Stores) -> Summary:
        memory = await TestMemoryStore().create(stores)
        summary = await summed_up(stores, [memory])
        assert summary is not None
        return summary

    async def listed(self, stores: Stores, like: Summary) -> list[Summary]:
        return await stores.summaries.list(like.conversation_id)


class TestFactStore(PagedStoreContract):
    name = "facts"

    async def create(self, stores: Stores) -> Fact:
        summary = await TestSummaryStore().create(stores)
        statement = Statement(f"thing {next(numbers)}", "It is there.")
        await stores.facts.add(summary, [statement], np.ones((1, 768), np.float32), model="m@1")
        (fact,) = await stores.facts.list(1)
        return fact


async def summed_up(stores: Stores, sources: Sources, level: int = 1) -> Summary | None:
    return await stores.summaries.add(
        sources, level=level, text="- x", style=SummaryStyle.brief, model="m", n_tokens=1
    )


class TestRunStore(PagedStoreContract):
    name = "runs"

    async def create(self, stores: Stores) -> Run:
        return await stores.runs.create(RunKind.chat, "lab-tiny", {"seed": next(numbers)})

    async def change(self, stores: Stores, id: UUID) -> None:
        await stores.runs.update(id, status=RunStatus.completed)


class TestEvalRunStore(PagedStoreContract):
    name = "eval_runs"

    async def create(self, stores: Stores) -> EvalRun:
        return await stores.eval_runs.create("long_memory", "evals/long_memory.ipynb", {"n": 3})

    async def change(self, stores: Stores, id: UUID) -> None:
        await stores.eval_runs.update(id, cells_done=1, metrics={"accuracy": 0.9})


class TestScheduleStore(PagedStoreContract):
    name = "schedules"

    async def create(self, stores: Stores) -> Schedule:
        return await stores.schedules.create(f"s{next(numbers)}", "0 3 * * *", "long_memory")

    async def change(self, stores: Stores, id: UUID) -> None:
        await stores.schedules.update(id, enabled=False)


class TestApiKeyStore(PagedStoreContract):
    name = "api_keys"

    async def create(self, stores: Stores) -> ApiKey:
        key, _ = await stores.api_keys.create("mine", [Scope.custom_lab_infer])
        return key


async def open_run(stores: Stores) -> Run:
    conversation = await stores.conversations.create("chat")
    return await stores.runs.create(RunKind.chat, "lab-tiny", {}, conversation.id)


async def test_a_conversation_written_to_comes_first(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        old = await stores.conversations.create("old")
        new = await stores.conversations.create("new")
        await stores.messages.add(old.id, Role.user, [TextPart(text="hello")])

        assert [c.id for c in await stores.conversations.list()] == [old.id, new.id]


async def test_a_conversation_ends_with_all_that_hangs_on_it(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        run = await open_run(stores)
        assert run.conversation_id is not None
        message = await stores.messages.add(run.conversation_id, Role.user, [], run_id=run.id)
        memory = await stores.memories.add(
            message, "x", np.ones(768, dtype=np.float32), model="model@1"
        )
        await stores.events.append(run.id, 0, EventType.run_started, {})
        await stores.conversations.delete(run.conversation_id)

        for store, id in (
            (stores.messages, message.id),
            (stores.memories, memory.id),
            (stores.runs, run.id),
        ):
            with pytest.raises(NotFoundError):
                await store.get(id)
        with pytest.raises(NotFoundError):
            await stores.events.list(run.id)


async def test_nobody_writes_into_a_conversation_or_run_of_another(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        run = await open_run(stores)
        assert run.conversation_id is not None
    async with database.stores(other_owner.id) as stores:
        with pytest.raises(NotFoundError):
            await stores.messages.add(run.conversation_id, Role.user, [])
        with pytest.raises(NotFoundError):
            await stores.messages.list(run.conversation_id)
        with pytest.raises(NotFoundError):
            await stores.events.append(run.id, 0, EventType.run_started, {})
        with pytest.raises(NotFoundError):
            await stores.events.list(run.id)


async def test_a_run_keeps_its_receipt_usage_and_end(database: Database, owner: User) -> None:
    receipt = Receipt(model="m", context_length=10, answer_tokens=2, n_tokens=3, items=[])
    usage = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    ended = datetime.now(UTC)
    async with database.stores(owner.id) as stores:
        run = await stores.runs.create(RunKind.chat, "lab-tiny", {"seed": 1}, id=new_id())
        await stores.runs.update(run.id, receipt=receipt)
        await stores.runs.update(run.id, status=RunStatus.completed, usage=usage, finished_at=ended)
    async with database.stores(owner.id) as stores:
        stored = await stores.runs.get(run.id)

    assert run.status is RunStatus.running
    assert (stored.receipt, stored.usage, stored.finished_at) == (receipt, usage, ended)


async def test_what_cannot_change_is_named(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        run = await open_run(stores)
        with pytest.raises(InputError, match=r"no `statos`.*Did you mean `status`"):
            await stores.runs.update(run.id, statos="completed")


async def test_events_come_back_in_order_after_a_position(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        run = await open_run(stores)
        first = await stores.events.append(run.id, 0, EventType.run_started, {"seed": 1})
        more = [
            first.model_copy(update={"position": n, "type": EventType.content}) for n in (3, 1, 2)
        ]
        await stores.events.extend(run.id, more)
        await stores.events.extend(run.id, [])

        assert [e.position for e in await stores.events.list(run.id)] == [0, 1, 2, 3]
        assert [e.position for e in await stores.events.list(run.id, after=1)] == [2, 3]


async def test_an_event_is_stored_once(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        run = await open_run(stores)
        await stores.events.append(run.id, 0, EventType.run_started, {})
    with pytest.raises(ConflictError):
        async with database.stores(owner.id) as stores:
            await stores.events.append(run.id, 0, EventType.run_started, {})


async def test_the_name_of_a_schedule_is_taken_once_a_user(
    database: Database, owner: User, other_owner: User
) -> None:
    for user in (owner, other_owner):
        async with database.stores(user.id) as stores:
            await stores.schedules.create("nightly", "0 3 * * *", "long_memory")
    with pytest.raises(ConflictError, match="nightly"):
        async with database.stores(owner.id) as stores:
            await stores.schedules.create("nightly", "0 4 * * *", "long_memory")


async def test_runs_outlive_the_schedule_that_started_them(database: Database, owner: User) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    async with database.stores(owner.id) as stores:
        schedule = await stores.schedules.create("s", "0 3 * * *", "e", next_run_at=due)
        run = await stores.eval_runs.create("e", "e.ipynb", schedule_id=schedule.id)
        await stores.schedules.delete(schedule.id)
    async with database.stores(owner.id) as stores:
        assert (await stores.eval_runs.get(run.id)).schedule_id is None

    assert (schedule.next_run_at, run.schedule_id) == (due, schedule.id)


async def test_user_settings_are_replaced_and_sparse(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        assert await stores.config.get() == {}
        await stores.config.set({"memory": {"top_k": 3}})
        await stores.config.set({"memory": {"enabled": False, "top_k": 0}})
    async with database.stores(owner.id) as stores:
        assert await stores.config.get() == {"memory": {"enabled": False, "top_k": 0}}
    async with database.stores(other_owner.id) as stores:
        assert await stores.config.get() == {}


@pytest.mark.parametrize(
    "title", ["nul \x00", "half a pair \ud800", "x" * 201], ids=["nul", "surrogate", "long"]
)
async def test_a_text_that_cannot_be_stored_is_refused(
    database: Database, owner: User, title: str
) -> None:
    with pytest.raises(InputError):
        async with database.stores(owner.id) as stores:
            await stores.conversations.create(title)


@pytest.mark.parametrize("text", ["nul \x00", "half a pair \ud800"], ids=["nul", "surrogate"])
async def test_a_part_that_cannot_be_stored_is_refused(
    database: Database, owner: User, text: str
) -> None:
    async with database.stores(owner.id) as stores:
        conversation = await stores.conversations.create("chat")
    with pytest.raises(InputError):
        async with database.stores(owner.id) as stores:
            await stores.messages.add(conversation.id, Role.user, [TextPart(text=text)])


@pytest.mark.parametrize("values", [{"limit": -1}, {"limit": 2**70}])
async def test_a_list_with_an_impossible_limit_is_refused(
    database: Database, owner: User, values: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        async with database.stores(owner.id) as stores:
            await stores.conversations.list(**values)


async def test_rows_of_a_user_who_is_gone_are_refused(database: Database) -> None:
    with pytest.raises(NotFoundError):
        async with database.stores(new_id()) as stores:
            await stores.conversations.create("chat")


async def three_memories(stores: Stores) -> list[Memory]:
    chat = await stores.conversations.create("chat")
    vector = np.ones(768, dtype=np.float32)
    return [
        await stores.memories.add(
            await stores.messages.add(chat.id, Role.user, [TextPart(text="x")]),
            "x",
            vector,
            model="model@1",
        )
        for _ in range(3)
    ]


async def test_a_summary_that_is_written_twice_is_stored_once(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        first, second, third = await three_memories(stores)

        written = await summed_up(stores, [first, second])
        again = await summed_up(stores, [first, second])

        assert written is not None
        assert again is None
        assert await stores.summaries.list(first.conversation_id) == [written]
        assert [s.memory_id for s in written.sources] == [first.id, second.id]
        assert await stores.summaries.waiting(first.conversation_id, 1, 9) == ([third], False)


async def test_what_lost_its_summary_is_told_apart_from_what_never_had_one(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        first, second, third = await three_memories(stores)
        chat = first.conversation_id
        ones = [await summed_up(stores, [memory]) for memory in (first, second)]
        await summed_up(stores, [one for one in ones if one], level=2)
        vector = np.ones(768, dtype=np.float32)
        await stores.memories.replace(first.id, "y", vector, model="model@1")
        changed = await stores.memories.get(first.id)

        assert await stores.summaries.waiting(chat, 1, 9) == ([changed], True)
        assert await stores.summaries.waiting(chat, 2, 9) == ([ones[1]], False)
        assert await stores.summaries.standing(chat) == [ones[1]]
        assert third.position == 2


async def test_an_unknown_chat_has_no_summaries(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        empty = await stores.conversations.create("chat")
        assert await stores.summaries.list(empty.id) == []
        with pytest.raises(NotFoundError):
            await stores.summaries.list(new_id())
