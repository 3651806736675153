"""Many processes write into one conversation at once, and are killed: what is stored is whole."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

from lab.client import connect
from lab.config import load_settings
from lab.db import Database
from lab.db.maintenance import check
from lab.protocols import CONTEXT_TURNS
from lab.runtime import Runtime, open_runtime
from lab.schemas.summary import Summary
from lab.schemas.user import User
from lab.workflows.turns import contexts_of, embedded_text
from tests.api_server import Api, running_api
from tests.writers import (
    CORRECT,
    DOCUMENT,
    FORGET,
    FORGETTING,
    SAY,
    SHARED,
    TURN,
    Done,
    Job,
    Writers,
    acknowledged,
    ended,
    writers,
)

pytestmark = pytest.mark.integration

N, M = 8, 2
"""Messages of a summary, and summaries of one of the next level."""
SMALL = {"LAB_SUMMARIES_MESSAGES": str(N), "LAB_SUMMARIES_FAN_IN": str(M)}
DEEDS = [f"{SAY}+", CORRECT, SAY, FORGET, TURN, DOCUMENT, SAY, CORRECT]


@pytest.fixture(scope="module")
async def starter() -> AsyncIterator[Writers]:
    async with writers() as starter:
        yield starter


@pytest.fixture
async def chat(database: Database, owner: User) -> UUID:
    async with database.stores(owner.id) as stores:
        return (await stores.conversations.create("Named")).id


def own_lab(database_url: str, folder: Path) -> dict[str, str]:
    """Return the settings of a lab of a writer's own."""
    return {"LAB_DATABASE_URL": database_url, "LAB_DATA_FOLDER": str(folder), **SMALL}


async def rows(url: str, query: str, *values: object) -> list[dict[str, object]]:
    async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row) as connection:
        return await (await connection.execute(query.encode(), values)).fetchall()


async def assert_whole(url: str, chat: UUID, runtime: Runtime, done: Sequence[Done]) -> None:
    """Check all that belongs to a conversation, and that all that was acknowledged is there."""
    await assert_messages(url, chat, done)
    await assert_memories(url, chat, runtime, done)
    await assert_documents(url, done)
    async with runtime.pipelines.embedding() as embedding:
        assert await check(url, timeout_s=5, model=embedding.signature) == []


async def assert_messages(url: str, chat: UUID, done: Sequence[Done]) -> None:
    messages = await rows(
        url,
        "SELECT id::text, position, role, parts->0->>'text' AS text, jsonb_array_length(parts) AS n"
        " FROM messages WHERE conversation_id = %s ORDER BY position",
        chat,
    )
    (counted,) = await rows(
        url, "SELECT n_messages, next_position FROM conversations WHERE id = %s", chat
    )
    assert [message["position"] for message in messages] == list(range(len(messages)))
    assert counted == {"n_messages": len(messages), "next_position": len(messages)}
    assert all(message["n"] == 1 for message in messages)
    asked = [message["text"] for message in messages if message["role"] == "user"]
    assert len(asked) == len(set(asked))
    said = {message["id"]: message["text"] for message in messages}
    assert [one for one in done if one.deed == SAY and said.get(one.id) != one.text] == []
    assert {one.text for one in done if one.deed == TURN} <= set(asked)
    order = {text: n for n, text in enumerate(asked)}
    for writer in {str(text).split(" says ")[0] for text in asked}:
        mine = [one.text for one in done if one.text in order and one.text.startswith(f"{writer} ")]
        assert mine == sorted(mine, key=lambda text: order[text])


async def assert_memories(url: str, chat: UUID, runtime: Runtime, done: Sequence[Done]) -> None:
    """Each turn has its memory, its words, and both vectors of what the texts are now."""
    found = await rows(
        url,
        """
        SELECT m.message_id::text AS message, s.id AS said, m.position = s.position AS placed,
            s.parts->0->>'text' AS first, m.text, m.name, m.embedding::text AS alone,
            c.embedding::text AS together, ARRAY(
                SELECT (term, n_times) FROM memory_terms WHERE memory_id = m.id ORDER BY term
            )::text = ARRAY(
                SELECT (lexeme, cardinality(positions)) FROM unnest(to_tsvector('english', m.text))
                ORDER BY lexeme
            )::text AS indexed
        FROM messages s LEFT JOIN memories m ON m.message_id = s.id
        LEFT JOIN memory_contexts c ON c.memory_id = m.id
        WHERE s.conversation_id = %s ORDER BY s.position
        """,
        chat,
    )
    forgotten, tried = ({one.id for one in done if one.deed == d} for d in (FORGET, FORGETTING))
    without = {str(row["said"]) for row in found if row["message"] is None}
    kept = [row for row in found if row["message"] is not None]
    corrected = {one.id: one.text for one in done if one.deed == CORRECT}
    assert forgotten <= without <= tried
    assert all(row["placed"] and row["indexed"] for row in kept)
    texts = {str(row["message"]): row["text"] for row in kept}
    assert {id: texts[id] for id in corrected if id in texts} == {
        id: text for id, text in corrected.items() if id in texts
    }
    alone = [embedded_text(None, str(row["text"])) for row in kept]
    contexts = contexts_of(alone)
    wanted = list(dict.fromkeys([*alone, *(text for text in contexts if text)]))
    async with runtime.pipelines.embedding() as embedding:
        vectors = dict(zip(wanted, await embedding.embed(wanted), strict=True))
    for row, own, context in zip(kept, alone, contexts, strict=True):
        assert np.dot(vector(row["alone"]), vectors[own]) > 0.999, own
        if row["together"] is not None:
            assert context is not None
            assert np.dot(vector(row["together"]), vectors[context]) > 0.999, context
    places = [place for place, row in enumerate(found) if row["message"] is not None]
    for n, row in enumerate(kept[1:], 1):
        first = places[n - CONTEXT_TURNS] if n >= CONTEXT_TURNS else 0
        stood_together = found[first : places[n]]
        assert row["together"] or None in [one["message"] for one in stood_together], row["text"]


async def assert_documents(url: str, done: Sequence[Done]) -> None:
    documents = await rows(
        url,
        """
        SELECT id::text, d.text, n_chunks = (SELECT count(*) FROM document_chunks WHERE
            document_id = d.id AND text = substr(d.text, start + 1, "end" - start)
        ) AS whole FROM documents d
        """,
    )
    assert all(document["whole"] for document in documents)
    texts = {document["id"]: document["text"] for document in documents}
    assert [one for one in done if one.deed == DOCUMENT and texts.get(one.id) != one.text] == []
    assert list(texts.values()).count(SHARED) <= 1


def vector(text: object) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.fromstring(str(text)[1:-1], dtype=np.float32, sep=",")


async def assert_summaries(runtime: Runtime, owner: User, chat: UUID) -> None:
    """Check that each level covers each of what is below once, and nothing is due."""
    async with runtime.database.stores(owner.id) as stores:
        summaries = await stores.summaries.list(chat)
        memories = await stores.memories.list(1000, conversation_id=chat)
    below: list[tuple[int, UUID]] = sorted((memory.position, memory.id) for memory in memories)
    for level, size in ((1, N), (2, M), (3, M)):
        found = sorted((s for s in summaries if s.level == level), key=lambda s: s.first_position)
        covered = [id for summary in found for id in sources(summary)]
        assert covered == [id for _, id in below[: len(covered)]]
        assert len(below) - len(covered) < size
        below = [(summary.first_position, summary.id) for summary in found]
    masters = [s for s in summaries if s.level == 4]
    assert [id for s in masters for id in sources(s)] == [
        id for _, id in below[: len(below) // M * M]
    ]


def sources(summary: Summary) -> list[UUID]:
    return [s.memory_id or s.source_summary_id for s in summary.sources]  # type: ignore[misc]


async def test_ten_processes_write_into_one_conversation(
    api: Api, ann: str, owner: User, chat: UUID, database_url: str, starter: Writers, tmp_path: Path
) -> None:
    """Five have a server each, three share one server, and two another."""
    async with running_api(database_url, LAB_DATA_FOLDER=str(tmp_path / "data"), **SMALL) as other:
        jobs = [
            Job(
                file=str(tmp_path / f"{n}"),
                name=f"Writer {n}",
                conversation=str(chat),
                token=ann,
                deeds=random.Random(n).sample(DEEDS, len(DEEDS)),
                url="" if n < 5 else (api.url if n < 8 else other.url),
                variables=own_lab(database_url, tmp_path / f"data{n}"),
            )
            for n in range(10)
        ]
        for pid in [await starter.start(job) for job in jobs]:
            await ended(pid)
    done = [one for job in jobs for one in acknowledged(job)]

    assert [one.deed for one in done].count("end") == 10
    runtime: Runtime = api.app.state.runtime
    await assert_whole(database_url, chat, runtime, done)
    async with open_runtime(load_settings(None, own_lab(database_url, tmp_path))) as small:
        await small.summarise(owner, chat)
        await assert_summaries(small, owner, chat)
    assert await rows(database_url, "SELECT FROM runs WHERE status <> 'completed'") == []
    async with connect(api.url, ann) as lab:
        hits = await lab.memories.search("What does Writer 7 say?")
    assert any("Writer 7" in hit.memory.text for hit in hits)


async def test_what_is_acknowledged_outlives_any_kill(
    api: Api, ann: str, owner: User, chat: UUID, database_url: str, starter: Writers, tmp_path: Path
) -> None:
    moments = random.Random(5)
    done: list[Done] = []
    variables = own_lab(database_url, tmp_path / "data")
    for n in range(12):
        job = Job(
            file=str(tmp_path / f"{n}"),
            name=f"Killed {n}",
            conversation=str(chat),
            token=ann,
            deeds=[*DEEDS[n % len(DEEDS) :], *DEEDS * 50],
            variables=variables,
        )
        pid = await starter.start(job)
        async with asyncio.timeout(60):
            n_done = moments.randint(1, 9)
            while len(acknowledged(job)) < n_done:
                await asyncio.sleep(0.01)
        await asyncio.sleep(moments.uniform(0, 0.2))
        os.kill(pid, signal.SIGKILL)
        await ended(pid)
        done += acknowledged(job)
        await assert_messages(database_url, chat, done)

    assert "end" not in {one.deed for one in done}
    assert len({one.deed for one in done}) == 7, done
    async with open_runtime(load_settings(None, variables)) as next_start:
        await assert_whole(database_url, chat, next_start, done)
        await until_summarised(next_start, owner, chat)


async def until_summarised(runtime: Runtime, owner: User, chat: UUID) -> None:
    """Wait until a lab has written by itself all that is due."""
    async with asyncio.timeout(60):
        while True:
            try:
                await assert_summaries(runtime, owner, chat)
            except AssertionError:
                await asyncio.sleep(0.2)
            else:
                return
