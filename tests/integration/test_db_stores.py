"""Every store keeps the contract of owned rows; what one store does besides comes after."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db import Database, Stores
from lab.db.facts import Statement
from lab.db.ids import new_id
from lab.db.summaries import Sources
from lab.errors import (
    ConflictError,
    DimensionError,
    DocumentTooLargeError,
    InputError,
    MediaTypeError,
    NotFoundError,
)
from lab.messages import Part
from lab.protocols import FloatArray, Passage
from lab.schemas.api_key import ApiKey
from lab.schemas.audio_part import AudioPart
from lab.schemas.conversation import Conversation
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.document import Document
from lab.schemas.dynamic_tool import DynamicTool
from lab.schemas.eval_run import EvalRun
from lab.schemas.event_type import EventType
from lab.schemas.fact import Fact
from lab.schemas.file import File
from lab.schemas.file_part import FilePart
from lab.schemas.image import Image
from lab.schemas.image_part import ImagePart
from lab.schemas.memory import Memory
from lab.schemas.message import Message
from lab.schemas.model_profile import ModelProfile
from lab.schemas.receipt import Receipt
from lab.schemas.research_citation import ResearchCitation
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind
from lab.schemas.research_task import ResearchTask
from lab.schemas.role import Role
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.schedule import Schedule
from lab.schemas.scope import Scope
from lab.schemas.search_result import SearchResult
from lab.schemas.stored_profile import StoredProfile
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.text_part import TextPart
from lab.schemas.todo import Todo
from lab.schemas.todo_status import TodoStatus
from lab.schemas.usage import Usage
from lab.schemas.user import User
from lab.schemas.web_page import WebPage
from tests.contracts.owned_store import (
    OwnedStoreContract,
    PagedStoreContract,
    VersionedStoreContract,
)

pytestmark = pytest.mark.integration

numbers = count()

PNG = b"\x89PNG\r\n\x1a\n"
WAV = b"RIFF\x24\0\0\0WAVEfmt "
ONES = np.ones(768, dtype=np.float32)


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


class TestWebPageStore(PagedStoreContract):
    name = "web_pages"

    async def create(self, stores: Stores) -> WebPage:
        text = f"page {next(numbers)}"
        made = await stores.web_pages.add(
            [Passage(0, len(text), text)],
            np.ones((1, 768), dtype=np.float32),
            **dict.fromkeys(("requested_url", "url"), f"https://a.test/{next(numbers)}"),
            **dict.fromkeys(("title", "author", "published_on", "language")),
            status=200,
            media_type="text/html",
            text=text,
            sha256=sha256(text.encode()).hexdigest(),
            n_bytes=len(text),
            embedding_model="m",
            warc=b"x",
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


class TestFileStore(PagedStoreContract):
    name = "files"

    async def create(self, stores: Stores) -> File:
        return await stores.files.add(PNG, "image/png", name=f"{next(numbers)}.png")


class TestImageStore(PagedStoreContract):
    name = "images"

    async def create(self, stores: Stores) -> Image:
        file = await TestFileStore().create(stores)
        return await stores.images.add(file.id, "a canary", "painter", {"seed": 1})


class TestModelProfileStore(VersionedStoreContract):
    name = "model_profiles"
    changes = {"profile": ModelProfile(id="other", model="lab-tiny", system_prompt="Be brief.")}  # noqa: RUF012

    async def create(self, stores: Stores) -> StoredProfile:
        return await stores.model_profiles.create(
            ModelProfile(id=f"p{next(numbers)}", model="lab-tiny")
        )


class TestDynamicToolStore(VersionedStoreContract):
    name = "dynamic_tools"
    changes = {"code": "def run():\n    return 2\n"}  # noqa: RUF012

    async def create(self, stores: Stores) -> DynamicTool:
        return await written_tool(stores, f"t{next(numbers)}", ONES)


async def written_tool(stores: Stores, name: str, embedding: FloatArray) -> DynamicTool:
    return await stores.dynamic_tools.create(
        embedding, model="m@1", name=name, description="x", parameters={}, code="def run(): ..."
    )


class TestTodoStore(VersionedStoreContract):
    name = "todos"
    changes = {"status": TodoStatus.completed}  # noqa: RUF012

    async def create(self, stores: Stores) -> Todo:
        return await stores.todos.create("feed the canary")


class TestResearchTaskStore(VersionedStoreContract):
    name = "research_tasks"
    changes = {"status": RunStatus.completed, "report": "Yes [1]."}  # noqa: RUF012

    async def create(self, stores: Stores) -> ResearchTask:
        return await stores.research_tasks.create("Do canaries sing?")


class TestResearchStepStore(OwnedStoreContract):
    name = "research_steps"

    async def create(self, stores: Stores) -> ResearchStep:
        found = await stores.research_tasks.list(1)
        task = found[0] if found else await TestResearchTaskStore().create(stores)
        return await stores.research_steps.add(task.id, ResearchStepKind.gather, task.question)

    async def listed(self, stores: Stores, like: ResearchStep) -> list[ResearchStep]:
        return await stores.research_steps.list(like.task_id)

    async def change(self, stores: Stores, id: UUID) -> None:
        await stores.research_steps.update(id, status=RunStatus.completed, result="They do.")


class TestSearchResultStore(PagedStoreContract):
    name = "search_results"

    async def create(self, stores: Stores) -> SearchResult:
        step = await TestResearchStepStore().create(stores)
        return await stores.search_results.add(step_id=step.id, **FOUND)

    async def change(self, stores: Stores, id: UUID) -> None:
        await stores.search_results.update(id, text="Canaries sing.")


class TestResearchCitationStore(OwnedStoreContract):
    name = "research_citations"

    async def create(self, stores: Stores) -> ResearchCitation:
        step = await TestResearchStepStore().create(stores)
        cited = await stores.research_citations.list(step.task_id)
        return await stores.research_citations.add(step.task_id, position=len(cited), **CITED)

    async def listed(self, stores: Stores, like: ResearchCitation) -> list[ResearchCitation]:
        return await stores.research_citations.list(like.task_id)


CITED: dict[str, Any] = {
    "number": 1,
    "claim": "Canaries sing.",
    "page_id": None,
    "url": "https://canaries.test/",
    "title": "Canaries",
    "quote": "Canaries sing.",
    "start": 0,
    "end": 14,
    "sha256": "0" * 64,
    "score": 1.0,
    "verified": True,
    "reason": None,
}
FOUND: dict[str, Any] = {
    "query": "canaries",
    "provider": "local",
    "position": 0,
    "url": "https://example.org/canaries",
    "title": "Canaries",
    "snippet": "They sing.",
}


def test_every_store_is_held_to_the_contract() -> None:
    tests = [test for test in globals().values() if isinstance(test, type)]
    contracts = [test for test in tests if issubclass(test, OwnedStoreContract)]
    held = {contract.name for contract in contracts if hasattr(contract, "name")}
    without_ids = {"events", "usage", "config", "items", "forks", "threads"}

    assert held | without_ids == set(vars(Stores(AsyncSession(), new_id(), max_file_bytes=1)))


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
        await stores.events.extend({run.id: more})
        await stores.events.extend({run.id: []})

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


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (WAV, "audio/wav"),
        (b"ID3\x04", "audio/mpeg"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04", "application/vnd.oasis.opendocument.graphics"),
        (b"BM is short for bare metal.", "text/plain"),
        (b"a,b\n", "text/csv"),
        (b"\x01\x02\x03", "application/octet-stream"),
    ],
)
async def test_a_file_comes_back_byte_by_byte(
    database: Database, owner: User, content: bytes, media_type: str
) -> None:
    async with database.stores(owner.id) as stores:
        file = await stores.files.add(content, media_type, name="a")
    async with database.stores(owner.id) as stores:
        assert await stores.files.content(file.id) == content

    assert (file.sha256, file.n_bytes) == (sha256(content).hexdigest(), len(content))
    assert file.media_type == media_type


@pytest.mark.parametrize(
    ("content", "media_type", "found"),
    [
        (b"\xff\xd8\xff\xe0", "image/png", "image/jpeg"),
        (b"<svg/>", "image/svg+xml", "of no known kind"),
        (WAV, "audio/mpeg", "audio/wav"),
        (PNG + b"\0", "text/plain", "image/png"),
        (PNG, "application/pdf", "image/png"),
        (b"no PDF", "application/pdf", "of no known kind"),
        (PNG, "application/octet-stream", "image/png"),
    ],
)
async def test_a_file_that_is_not_what_it_is_called_is_refused(
    database: Database, owner: User, content: bytes, media_type: str, found: str
) -> None:
    async with database.stores(owner.id) as stores:
        with pytest.raises(MediaTypeError, match=rf"called {re.escape(media_type)}, .* {found}"):
            await stores.files.add(content, media_type)
        assert await stores.files.list() == []


async def test_a_file_that_is_too_large_is_refused(database_url: str, owner: User) -> None:
    config = DatabaseConfig(max_file_bytes=1024)
    async with Database(config, database_url) as small, small.stores(owner.id) as stores:
        with pytest.raises(DocumentTooLargeError, match="1,025 bytes, and 1,024 are allowed"):
            await stores.files.add(b"x" * 1025, "text/plain")
        assert await stores.files.add(b"x" * 1024, "text/plain")


async def test_the_bytes_of_another_do_not_exist(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        file = await TestFileStore().create(stores)
    async with database.stores(other_owner.id) as stores:
        with pytest.raises(NotFoundError):
            await stores.files.content(file.id)


async def test_parts_refer_to_files_of_their_kind(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        chat = await stores.conversations.create("chat")
        picture = await stores.files.add(PNG, "image/png")
        sound = await stores.files.add(WAV, "audio/wav")
        parts: list[Part] = [
            ImagePart(file_id=picture.id),
            AudioPart(file_id=sound.id),
            FilePart(file_id=picture.id),
        ]
        message = await stores.messages.add(chat.id, Role.user, parts)
        with pytest.raises(InputError, match="is audio/wav, and a part of type `image`"):
            await stores.messages.add(chat.id, Role.user, [ImagePart(file_id=sound.id)])
        with pytest.raises(InputError, match="is image/png, and a part of type `audio`"):
            await stores.messages.add(chat.id, Role.user, [AudioPart(file_id=picture.id)])
        await stores.files.delete(sound.id)

        assert await stores.messages.get(message.id) == message
        assert message.parts == parts


async def test_nothing_refers_to_what_is_anothers(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        chat = await stores.conversations.create("chat")
        image = await TestImageStore().create(stores)
        step = await TestResearchStepStore().create(stores)
    async with database.stores(other_owner.id) as stores:
        mine = await stores.conversations.create("chat")
        file = await TestFileStore().create(stores)
        for reference in (
            stores.messages.add(mine.id, Role.user, [ImagePart(file_id=image.file_id)]),
            stores.messages.add(mine.id, Role.user, [FilePart(file_id=image.file_id)]),
            stores.images.add(image.file_id, "x", "m", {}),
            stores.images.add(file.id, "x", "m", {}, source_id=image.id),
            stores.runs.create(RunKind.chat, None, {}, chat.id),
            stores.todos.create("x", chat.id),
            stores.research_tasks.create("x", chat.id),
            stores.research_steps.add(step.task_id, ResearchStepKind.plan, "x"),
            stores.research_steps.list(step.task_id),
            stores.search_results.add(step_id=step.id, **FOUND),
            stores.research_citations.add(step.task_id, position=0, **CITED),
            stores.research_citations.list(step.task_id),
        ):
            with pytest.raises(NotFoundError):
                await reference
        assert await stores.todos.list(conversation_id=chat.id) == []
        assert await stores.search_results.list(step_id=step.id) == []
        assert await stores.messages.list(mine.id) == []


async def test_a_picture_goes_with_its_bytes_and_leaves_those_made_of_it(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        first = await TestImageStore().create(stores)
        file = await TestFileStore().create(stores)
        edited = await stores.images.add(file.id, "x", "m", {}, source_id=first.id)
        await stores.images.delete(first.id)
        with pytest.raises(NotFoundError):
            await stores.files.get(first.file_id)
    async with database.stores(owner.id) as stores:
        assert (await stores.images.get(edited.id)).source_id is None
        await stores.files.delete(file.id)
        assert await stores.images.list() == []


async def test_names_of_profiles_and_tools_are_taken_once_a_user(
    database: Database, owner: User, other_owner: User
) -> None:
    profiles = [ModelProfile(id=name, model="lab-tiny") for name in ("brief", "long")]
    for user in (owner, other_owner):
        async with database.stores(user.id) as stores:
            _, long = [await stores.model_profiles.create(profile) for profile in profiles]
            _, second = [await written_tool(stores, name, ONES) for name in ("one", "two")]
    with pytest.raises(ConflictError, match="a model profile `brief` already"):
        async with database.stores(owner.id) as stores:
            await stores.model_profiles.create(profiles[0])
    with pytest.raises(ConflictError, match="a model profile `brief` already"):
        async with database.stores(other_owner.id) as stores:
            await stores.model_profiles.update(long.id, 1, profile=profiles[0])
    with pytest.raises(ConflictError, match="a dynamic tool `one` already"):
        async with database.stores(other_owner.id) as stores:
            await stores.dynamic_tools.update(second.id, 1, name="one")


async def test_only_the_version_that_was_read_is_approved(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        tool = await TestDynamicToolStore().create(stores)
        approved = await stores.dynamic_tools.approve(tool.id, 1)
        rewritten = await stores.dynamic_tools.update(tool.id, 2, code="import os")
        with pytest.raises(ConflictError, match="version 3"):
            await stores.dynamic_tools.approve(tool.id, 2)
        stored = await stores.dynamic_tools.get(tool.id)

    assert tool.approved_at is None
    assert approved.approved_at is not None
    assert stored == rewritten
    assert rewritten.approved_at is None


async def test_a_tool_is_found_by_what_it_does(
    database: Database, owner: User, other_owner: User
) -> None:
    axes = np.eye(2, 768, dtype=np.float32)
    async with database.stores(other_owner.id) as stores:
        await written_tool(stores, "theirs", axes[0])
    async with database.stores(owner.id) as stores:
        first, second = [await written_tool(stores, f"t{n}", axes[n]) for n in range(2)]
        about = {"description": "y", "embedding": axes[0], "embedding_model": "m@2"}
        wish = axes[0] * 3 + axes[1]
        found = await stores.dynamic_tools.nearest(wish, model="m@1", limit=5)
        nearest = await stores.dynamic_tools.nearest(wish, model="m@1", limit=1)
        with pytest.raises(InputError, match="belong together, and only description came"):
            await stores.dynamic_tools.update(second.id, 1, description="y")
        moved = await stores.dynamic_tools.update(second.id, 1, **about)
        later = await stores.dynamic_tools.nearest(wish, model="m@2", limit=5)
        with pytest.raises(DimensionError):
            await stores.dynamic_tools.update(second.id, 2, **(about | {"embedding": axes[0, :5]}))
        with pytest.raises(InputError, match="no direction"):
            await written_tool(stores, "x", ONES * 0)

    assert [tool for tool, _ in found] == [first, second]
    assert [similarity for _, similarity in found] == pytest.approx([3 / 10**0.5, 1 / 10**0.5])
    assert nearest == found[:1]
    assert [tool for tool, _ in later] == [moved]


async def test_steps_of_research_follow_each_other_and_keep_their_sources(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        task = await TestResearchTaskStore().create(stores)
        kinds = [ResearchStepKind.plan, ResearchStepKind.gather, ResearchStepKind.synthesise]
        steps = [await stores.research_steps.add(task.id, kind, "x") for kind in kinds]
        source = await stores.search_results.add(step_id=steps[1].id, **FOUND)
        loose = await stores.search_results.add(**FOUND)
        read = await stores.search_results.update(source.id, text="Canaries sing.")

        assert await stores.research_steps.list(task.id) == steps
        assert [step.position for step in steps] == [0, 1, 2]
        assert await stores.search_results.list(step_id=steps[1].id) == [read]
        await stores.research_tasks.delete(task.id)
        assert await stores.search_results.list() == [loose]


async def test_steps_that_are_planned_at_once_get_places_of_their_own(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        task = await TestResearchTaskStore().create(stores)

    async def plan() -> None:
        async with database.stores(owner.id) as stores:
            await stores.research_steps.add(task.id, ResearchStepKind.gather, "x")

    await asyncio.gather(*(plan() for _ in range(8)))

    async with database.stores(owner.id) as stores:
        steps = await stores.research_steps.list(task.id)
    assert [step.position for step in steps] == list(range(8))


async def test_a_step_is_done_once_and_by_the_run_that_works_on_its_task(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        step = await TestResearchStepStore().create(stores)
        task = await stores.research_tasks.get(step.task_id)
        run = await stores.runs.create(RunKind.research, None, {})
        await stores.research_tasks.update(
            task.id, task.version, run_id=run.id, status=RunStatus.running
        )

        await stores.research_tasks.hold(task.id, run.id)
        with pytest.raises(ConflictError, match="Another run"):
            await stores.research_tasks.hold(task.id, new_id())
        done = await stores.research_steps.complete(step.id, "They do.")
        with pytest.raises(ConflictError, match="done already"):
            await stores.research_steps.complete(step.id, "They do not.")
        await stores.research_tasks.stop(task.id, RunStatus.cancelled)
        with pytest.raises(ConflictError, match="stopped"):
            await stores.research_tasks.hold(task.id, run.id)
        assert await stores.research_steps.get(step.id) == done


async def test_research_that_is_left_is_what_nobody_stopped_and_no_run_works_on(
    database: Database, owner: User
) -> None:
    standing = {
        "left": (RunStatus.running, RunStatus.interrupted),
        "works": (RunStatus.running, RunStatus.running),
        "paused": (RunStatus.interrupted, RunStatus.interrupted),
        "cancelled": (RunStatus.cancelled, RunStatus.cancelled),
        "failed": (RunStatus.failed, RunStatus.failed),
        "done": (RunStatus.completed, RunStatus.completed),
    }
    async with database.stores(owner.id) as stores:
        for question, (status, of_run) in standing.items():
            task = await stores.research_tasks.create(question)
            run = await stores.runs.create(RunKind.research, None, {})
            await stores.runs.update(run.id, status=of_run)
            await stores.research_tasks.update(task.id, 1, run_id=run.id, status=status)
        waiting = await stores.research_tasks.create("waits")
        left = await stores.research_tasks.left()
    async with database.accounts() as accounts:
        owners = await accounts.left_research()

    assert [task.question for task in left] == ["left", waiting.question]
    assert [user.id for user in owners] == [owner.id]


async def test_a_citation_outlives_its_page(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        page = await TestWebPageStore().create(stores)
        task = await TestResearchTaskStore().create(stores)
        cited = CITED | {"page_id": page.id}
        citation = await stores.research_citations.add(task.id, position=0, **cited)
        await stores.web_pages.delete(page.id)

        assert await stores.research_citations.list(task.id) == [
            citation.model_copy(update={"page_id": None})
        ]


async def test_what_came_up_in_a_chat_goes_with_it(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        chat = await stores.conversations.create("chat")
        todo = await stores.todos.create("x", chat.id)
        await stores.research_tasks.create("x", chat.id)
        other = await TestTodoStore().create(stores)

        assert await stores.todos.list(conversation_id=chat.id) == [todo]
        await stores.conversations.delete(chat.id)
        assert await stores.todos.list() == [other]
        assert await stores.research_tasks.list() == []
