"""Summaries of a conversation: when they are written, what they cover, and how they go."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from lab.config import Settings, load_settings
from lab.db import Database
from lab.errors import NotFoundError
from lab.evals.talks import holds, write_talk
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.receipt import Receipt
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.user import User

pytestmark = pytest.mark.integration

NAMES = ("Zamiko", "Orvelo", "Tamira", "Belfo", "Quanda", "Rilmo", "Vesko", "Dorla")
N, M = 4, 2
"""Messages of a summary, and summaries of one of the next level: small, so that talks are short."""


def settings(url: str, **variables: str) -> Settings:
    small = {"LAB_SUMMARIES_MESSAGES": str(N), "LAB_SUMMARIES_FAN_IN": str(M)}
    environ = {"LAB_DATABASE_URL": url, "LAB_CHAT_THREADS": "1", **small, **variables}
    return load_settings(None, environ)


@pytest.fixture(scope="module")
async def runtime(database_url: str) -> AsyncIterator[Runtime]:
    async with open_runtime(settings(database_url)) as runtime:
        yield runtime


@pytest.fixture
async def chat(database: Database, owner: User) -> UUID:
    async with database.stores(owner.id) as stores:
        return (await stores.conversations.create("Named")).id


def user(text: str) -> ChatMessage:
    return ChatMessage(role=Role.user, content=text)


def rain(n: int, start: int = 0) -> list[ChatMessage]:
    return [user(f"It rained on day {i} and I stayed at home.") for i in range(start, start + n)]


def pets(*names: str) -> list[ChatMessage]:
    kinds = ("dog", "cat", "horse", "parrot", "rabbit", "hamster", "goat", "snake")
    return [user(f"My {kind} is called {name}.") for kind, name in zip(kinds, names, strict=False)]


async def tell(runtime: Runtime, owner: User, chat: UUID, messages: Sequence[ChatMessage]) -> None:
    """Store messages, and let all that is due be written."""
    await runtime.store_messages(owner, chat, messages)
    await runtime.summarise(owner, chat)


async def every(runtime: Runtime, owner: User, chat: UUID) -> list[Summary]:
    async with runtime.database.stores(owner.id) as stores:
        return await stores.summaries.list(chat)


def spans(summaries: Sequence[Summary], level: int) -> list[tuple[int, int]]:
    return [(s.first_position, s.last_position) for s in summaries if s.level == level]


def assert_whole(summaries: Sequence[Summary], n_messages: int) -> None:
    """Check that every level is as one process that was never disturbed leaves it."""
    size = N
    for level in (1, 2, 3):
        found = spans(summaries, level)
        assert found == [(i, i + size - 1) for i in range(0, n_messages - size + 1, size)]
        size *= M
    n_third = len(spans(summaries, 3))
    end = (n_third - n_third % M) * size // M
    assert spans(summaries, 4) == ([(0, end - 1)] if end else [])
    by_id = {s.id: s for s in summaries}
    for summary in summaries:
        below = [by_id[s.source_summary_id] for s in summary.sources if s.source_summary_id]
        if summary.level == 1:
            assert len({s.memory_id for s in summary.sources} - {None}) == N
        else:
            assert {s.level for s in below} == {summary.level - 1}
            assert below[0].first_position == summary.first_position
            assert below[-1].last_position == summary.last_position
            assert all(a.last_position + 1 == b.first_position for a, b in pairwise(below))


@pytest.mark.parametrize(("n_messages", "n_summaries"), [(N - 1, 0), (N, 1), (N + 1, 1)])
async def test_so_many_messages_make_a_summary(
    runtime: Runtime, owner: User, chat: UUID, n_messages: int, n_summaries: int
) -> None:
    await tell(runtime, owner, chat, rain(n_messages))

    assert spans(await every(runtime, owner, chat), 1) == [(0, N - 1)] * n_summaries


async def test_a_summary_tells_the_facts_and_from_what(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, [*pets("Zamiko", "Orvelo"), *rain(2)])

    (summary,) = await every(runtime, owner, chat)
    async with database.stores(owner.id) as stores:
        memories = (await stores.memories.list(conversation_id=chat))[::-1]
    assert holds(summary.text, "Zamiko")
    assert holds(summary.text, "Orvelo")
    assert (summary.level, summary.style, summary.model) == (1, SummaryStyle.key_points, "lab-tiny")
    assert [s.memory_id for s in summary.sources] == [m.id for m in memories]
    assert all(s.source_summary_id is None for s in summary.sources)
    assert summary.said_at == memories[-1].created_at
    assert summary.n_tokens > 0


async def test_what_a_summary_cost_is_counted_for_its_user(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, rain(2 * N))

    async with database.stores(owner.id) as stores:
        (day,) = await stores.usage.days(owner.name, datetime.now(UTC) - timedelta(days=1))
    # The two of the first level were written, and joined without the model.
    assert spans(await every(runtime, owner, chat), 2) == [(0, 2 * N - 1)]
    assert (day.model, day.n_generations) == ("lab-tiny", 2)
    assert day.prompt_tokens > day.completion_tokens > 0


async def test_where_nothing_is_worth_telling_a_summary_is_empty(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    hello = [user("Hello."), ChatMessage(role=Role.assistant, content="Hello! How can I help you?")]
    await tell(runtime, owner, chat, hello * 2)

    (summary,) = await every(runtime, owner, chat)
    assert (summary.text, summary.n_tokens) == ("", 0)


async def test_most_facts_of_a_long_talk_stand_in_its_summaries(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    """The bound is loose: `lab eval run long_memory` measures it."""
    talk = write_talk(n_facts=12, n_turns=64, seed=3)
    await tell(runtime, owner, chat, talk.messages)

    summaries = await every(runtime, owner, chat)

    for level in (1, 4):
        text = "\n".join(s.text for s in summaries if s.level == level)
        kept = [question for question in talk.questions if holds(text, question.value)]
        assert len(kept) >= 8, text


async def test_summaries_join_level_by_level_into_a_master_that_grows(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    per_master = N * M**3
    await tell(runtime, owner, chat, [*pets("Zamiko"), *rain(per_master - 1)])
    first = await every(runtime, owner, chat)
    await tell(runtime, owner, chat, [*pets("Orvelo"), *rain(per_master - 1)])
    grown = await every(runtime, owner, chat)

    assert_whole(first, per_master)
    assert_whole(grown, 2 * per_master)
    (before,) = (s for s in first if s.level == 4)
    (master,) = (s for s in grown if s.level == 4)
    assert (master.id, master.style) == (before.id, SummaryStyle.master)
    assert holds(before.text, "Zamiko")
    assert holds(master.text, "Zamiko")
    assert holds(master.text, "Orvelo")
    unchanged = [s for s in first if s.level < 4]
    assert [s for s in grown if s.id in {u.id for u in unchanged}] == unchanged
    async with runtime.database.stores(owner.id) as stores:
        assert await stores.summaries.standing(chat) == [master]


async def test_lines_that_stand_are_joined_and_not_written_again(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    await tell(
        runtime,
        owner,
        chat,
        pets(*["Zamiko", "Orvelo", "Tamira", "Belfo", "Quanda", "Rilmo", "Vesko", "Dorla"]),
    )

    *ones, two = sorted(await every(runtime, owner, chat), key=lambda s: s.level)

    assert [s.level for s in (*ones, two)] == [1, 1, 2]
    assert two.text.splitlines() == [line for one in ones for line in one.text.splitlines()]


async def test_turns_and_stored_messages_are_summarised_without_being_asked_to(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    turn = ChatTurn(
        messages=[user("My dog is called Zamiko.")],
        conversation_id=chat,
        parameters=GenerationParameters(max_new_tokens=12),
    )
    for _ in range(N // 2):
        assert [e async for e in runtime.answering.stream(owner, turn)][
            -1
        ].type is EventType.run_completed
    await until_written(runtime, owner, chat, 1)
    await runtime.store_messages(owner, chat, rain(N))
    await until_written(runtime, owner, chat, 3)

    assert_whole(await every(runtime, owner, chat), 2 * N)


async def test_switched_off_nothing_is_written_and_nothing_shown(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, rain(N))
    async with database.stores(owner.id) as stores:
        await stores.config.set({"summaries": {"enabled": False}})
    await tell(runtime, owner, chat, long_talk())

    receipt = await asked(runtime, owner, chat)

    assert len(await every(runtime, owner, chat)) == 1
    assert of_kind(receipt, SourceKind.summary) == []


async def test_ten_labs_at_once_write_each_summary_once(
    runtime: Runtime, database_url: str, owner: User, chat: UUID
) -> None:
    """All in this process, but each with a worker of its own: they meet in the database."""
    n_messages = N * M**3 + 3
    await runtime.store_messages(owner, chat, rain(2))
    others = [
        Runtime(
            settings(database_url),
            runtime.database,
            runtime.cache,
            runtime.pipelines,
            runtime.composer,
        )
        for _ in range(9)
    ]

    async def say(lab: Runtime, start: int) -> None:
        for i in range(start, n_messages - 2, 10):
            await lab.store_messages(owner, chat, rain(1, i))
        await lab.summarise(owner, chat)

    await asyncio.gather(*(say(lab, i) for i, lab in enumerate([runtime, *others])))

    summaries = await every(runtime, owner, chat)
    for lab in others:
        await lab.aclose()
    assert_whole(summaries, n_messages)


HAMMER = """
import asyncio, os, sys
from uuid import UUID
from lab.runtime import open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from tests.integration.test_summaries import rain, settings

async def main(url, name, chat, n_messages):
    async with open_runtime(settings(url)) as lab:
        async with lab.database.accounts() as accounts:
            owner = await accounts.get(name)
        for i in range(int(n_messages)):
            await lab.store_messages(owner, UUID(chat), rain(1, i))
        print("said", flush=True)
        await lab.summarise(owner, UUID(chat))

asyncio.run(main(*sys.argv[1:]))
"""


async def hammer(url: str, owner: User, chat: UUID, n_messages: int) -> asyncio.subprocess.Process:
    """Start a process of its own that says something and summarises."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HAMMER, url, owner.name, str(chat), str(n_messages)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_three_processes_hammer_one_conversation(
    runtime: Runtime, database_url: str, owner: User, chat: UUID
) -> None:
    processes = [await hammer(database_url, owner, chat, 8) for _ in range(3)]

    for process in processes:
        _, stderr = await process.communicate()
        assert process.returncode == 0, stderr.decode()
    await runtime.summarise(owner, chat)

    assert_whole(await every(runtime, owner, chat), 24)


@pytest.mark.parametrize("n_written", [0, 1, 4])
async def test_what_a_killed_process_left_is_finished_by_the_next_start(
    runtime: Runtime, database_url: str, owner: User, chat: UUID, n_written: int
) -> None:
    n_messages = N * M**3
    await runtime.database.pool.wait()
    process = await hammer(database_url, owner, chat, n_messages)
    assert process.stdout is not None
    assert (await process.stdout.readline()).strip() == b"said"
    await until_written(runtime, owner, chat, n_written)

    process.send_signal(signal.SIGKILL)
    await process.wait()
    left = await every(runtime, owner, chat)
    async with open_runtime(settings(database_url)):
        await until_written(runtime, owner, chat, 15)

    finished = await every(runtime, owner, chat)
    assert_whole(finished, n_messages)
    assert [s for s in finished if s.id in {old.id for old in left}] == left


async def until_written(runtime: Runtime, owner: User, chat: UUID, n: int) -> None:
    async with asyncio.timeout(60):
        while len(await every(runtime, owner, chat)) < n:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("change", ["delete", "correct", "message"])
async def test_nothing_of_what_is_forgotten_or_corrected_stays_in_a_summary(
    runtime: Runtime, database: Database, owner: User, chat: UUID, change: str
) -> None:
    await tell(runtime, owner, chat, [*rain(N), *pets("Zamiko", "Orvelo"), *rain(N * M**3 - 2)])
    before = await every(runtime, owner, chat)
    async with database.stores(owner.id) as stores:
        memory = next(
            m for m in await stores.memories.list(conversation_id=chat) if "Zamiko" in m.text
        )
        if change == "delete":
            await stores.memories.delete(memory.id)
        elif change == "message":
            await stores.messages.delete(memory.message_id)
    if change == "correct":
        await runtime.correct_memory(owner, memory.id, "My dog is called Belfo.")

    dropped = await every(runtime, owner, chat)
    await runtime.summarise(owner, chat)
    after = await every(runtime, owner, chat)

    assert any(holds(s.text, "Zamiko") for s in before if s.level == 4)
    assert not any("Zamiko" in s.text for s in [*dropped, *after])
    gone = [s for s in before if s.first_position <= memory.position <= s.last_position]
    assert [s.id for s in dropped] == [s.id for s in before if s not in gone]
    assert {s.level for s in gone} == {1, 2, 3, 4}
    assert [s for s in after if s.id in {d.id for d in dropped}] == dropped
    rebuilt = [s for s in after if s.id not in {d.id for d in dropped}]
    assert sorted(s.level for s in rebuilt) == [1, 2, 3, 4]
    assert all(holds(s.text, "Orvelo") for s in rebuilt)
    if change == "correct":
        assert all(holds(s.text, "Belfo") for s in rebuilt)


async def test_forgetting_all_forgets_the_summaries(
    runtime: Runtime, database: Database, owner: User, other_owner: User, chat: UUID
) -> None:
    async with database.stores(other_owner.id) as stores:
        theirs = (await stores.conversations.create("theirs")).id
    await tell(runtime, owner, chat, rain(N * M))
    await tell(runtime, other_owner, theirs, rain(N * M))

    async with database.stores(owner.id) as stores:
        await stores.memories.delete_all(chat)
    await runtime.summarise(owner, chat)

    assert await every(runtime, owner, chat) == []
    assert len(await every(runtime, other_owner, theirs)) == 3


async def test_what_was_deleted_while_the_model_wrote_does_not_come_back(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await runtime.store_messages(owner, chat, rain(N - 1))
    async with database.stores(owner.id) as stores:
        sources, _ = await stores.summaries.waiting(chat, 1, N)
        await stores.memories.delete(sources[0].id)

    async with database.stores(owner.id) as stores:
        stored = await stores.summaries.add(
            sources, level=1, text="x", style=SummaryStyle.brief, model="m", n_tokens=1
        )

    assert stored is None
    assert await every(runtime, owner, chat) == []


async def test_a_summary_and_a_deletion_at_once_leave_no_trace(
    runtime: Runtime, database: Database, owner: User, chat: UUID
) -> None:
    await runtime.store_messages(owner, chat, [*pets("Zamiko"), *rain(N * M**3 - 1)])

    async def forget() -> None:
        await asyncio.sleep(0.3)
        async with database.stores(owner.id) as stores:
            found = await stores.memories.list(conversation_id=chat)
            await stores.memories.delete(found[-1].id)

    await asyncio.gather(runtime.summarise(owner, chat), forget())
    await runtime.summarise(owner, chat)

    assert not any("Zamiko" in s.text for s in await every(runtime, owner, chat))


def long_talk() -> list[ChatMessage]:
    """Return more than the window of lab-tiny holds: a fact, and much small talk."""
    return [*pets("Zamiko"), *write_talk(n_facts=0, n_turns=60, seed=1).messages]


async def asked(
    runtime: Runtime, owner: User, chat: UUID, *, memory: bool | None = None
) -> Receipt:
    turn = ChatTurn(
        messages=[user("What is my dog called?")],
        conversation_id=chat,
        store=False,
        memory=memory,
        parameters=GenerationParameters(max_new_tokens=12, seed=0),
    )
    events = [event async for event in runtime.answering.stream(owner, turn)]
    (data,) = [e.data for e in events if e.type is EventType.receipt]
    return Receipt.model_validate(data["receipt"])


def of_kind(receipt: Receipt, kind: SourceKind, *, included: bool = True) -> list[ReceiptItem]:
    return [i for i in receipt.items if i.kind is kind and i.included is included]


async def test_what_a_summary_covers_leaves_the_window_and_the_receipt_says_so(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, long_talk())

    receipt = await asked(runtime, owner, chat)

    told = of_kind(receipt, SourceKind.summary)
    assert told
    assert any(holds(item.text, "Zamiko") for item in told)
    assert told[0].reason.startswith("summary of level 4, of messages 0 to ")
    left = of_kind(receipt, SourceKind.recent, included=False)
    assert "a summary in the window covers them" in {item.reason for item in left}
    recent = of_kind(receipt, SourceKind.recent)
    assert recent[-1].text == long_talk()[-1].content
    assert receipt.n_tokens <= receipt.context_length - receipt.answer_tokens


async def test_a_conversation_that_fits_stands_word_for_word(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    talk = [*pets("Zamiko"), *rain(N * M)]
    await tell(runtime, owner, chat, talk)

    receipt = await asked(runtime, owner, chat)

    assert [i.text for i in of_kind(receipt, SourceKind.recent)] == [m.content for m in talk]
    assert of_kind(receipt, SourceKind.summary) == []
    out = of_kind(receipt, SourceKind.summary, included=False)
    assert {i.reason.rsplit(": ")[1] for i in out} == {"they stand word for word"}


async def test_a_turn_without_memory_sees_no_summary(
    runtime: Runtime, owner: User, chat: UUID
) -> None:
    await tell(runtime, owner, chat, long_talk())

    receipt = await asked(runtime, owner, chat, memory=False)

    assert {i.kind for i in receipt.items} <= {
        SourceKind.system,
        SourceKind.recent,
        SourceKind.question,
    }


async def test_nobody_summarises_the_conversation_of_another(
    runtime: Runtime, other_owner: User, chat: UUID
) -> None:
    with pytest.raises(NotFoundError):
        await runtime.summarise(other_owner, chat)
    with pytest.raises(NotFoundError):
        await every(runtime, other_owner, chat)
