"""Another embedding model: what it did not embed is never compared, and is embedded anew."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.config import load_settings
from lab.db import Database
from lab.pipelines.catalog import configured
from lab.pipelines.files import signature
from lab.protocols import EmbeddingPipeline
from lab.runtime import Runtime, open_runtime
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.task import Task
from lab.schemas.user import User
from lab.workflows import reembedding
from tests.integration.test_db_stores import TestFactStore as Fact
from tests.stack import LAB
from tests.tiny_bert import save_tiny_bert

pytestmark = pytest.mark.integration

runner = CliRunner()

TALK = ("My dog is called Rexa.", "It barks all night.", "The roof of the house leaked.")
QUESTION = "What was wrong with the building?"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_bert(tmp_path_factory.mktemp("tiny") / "tiny-bert"))


@asynccontextmanager
async def lab(database_url: str, **variables: str) -> AsyncIterator[Runtime]:
    environ = {"LAB_DATABASE_URL": database_url, "LAB_CHAT_THREADS": "1", **variables}
    async with open_runtime(load_settings(None, environ)) as runtime:
        yield runtime


async def told(runtime: Runtime, owner: User, texts: Sequence[str] = TALK) -> UUID:
    async with runtime.database.stores(owner.id) as stores:
        chat = await stores.conversations.create("told")
    messages = [ChatMessage(role=Role.user, content=text) for text in texts]
    await runtime.store_messages(owner, chat.id, messages)
    return chat.id


async def found(runtime: Runtime, owner: User, question: str = QUESTION) -> list[MemoryHit]:
    return await runtime.search_memories(owner, question, 10)


async def vectors(database_url: str) -> dict[str, Any]:
    """Return the embeddings of each memory, alone and in context, with their models, by text."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        rows = await connection.execute(
            "SELECT text, m.embedding_model, m.embedding::text, c.embedding_model,"
            " c.embedding::text FROM memories m LEFT JOIN memory_contexts c ON memory_id = id"
        )
        return {text: known for text, *known in await rows.fetchall()}


async def command(*arguments: str, code: int = 0) -> str:
    result = await asyncio.to_thread(runner.invoke, main, arguments)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.fixture
def settings(database_url: str, tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands mean this database, and the tiny model."""
    monkeypatch.setenv("LAB_DATABASE_URL", database_url)
    monkeypatch.setenv("LAB_EMBEDDING_MODEL", tiny)
    monkeypatch.setenv("COLUMNS", "200")


async def test_embeddings_of_another_model_are_not_compared_and_words_still_find_them(
    database: Database, owner: User, database_url: str, tiny: str
) -> None:
    async with lab(database_url) as runtime:
        await told(runtime, owner)
        before = await found(runtime, owner)
    assert before[0].memory.text == TALK[2]
    assert all(hit.similarity is not None for hit in before)

    async with lab(database_url, LAB_EMBEDDING_MODEL=tiny) as runtime:
        assert await found(runtime, owner) == []
        hits = await found(runtime, owner, "roof")

    assert [(hit.memory.text, hit.similarity) for hit in hits] == [(TALK[2], None)]


async def test_the_receipt_says_how_many_memories_wait(
    database: Database, owner: User, database_url: str, tiny: str
) -> None:
    async with lab(database_url) as runtime:
        chat = await told(runtime, owner)
        assert (await receipt(runtime, owner, chat)).n_waiting == 0
    async with lab(database_url, LAB_EMBEDDING_MODEL=tiny) as runtime:
        n_stored = len(await vectors(database_url))

        assert (await receipt(runtime, owner, chat)).n_waiting == n_stored


async def receipt(runtime: Runtime, owner: User, chat: UUID) -> Receipt:
    message = ChatMessage(role=Role.user, content="Who barks?")
    turn = ChatTurn(conversation_id=chat, messages=[message])
    events = [event async for event in runtime.answering.stream(owner, turn)]
    async with runtime.database.stores(owner.id) as stores:
        run = await stores.runs.get(events[0].run_id)
    assert run.receipt is not None
    return run.receipt


@pytest.mark.usefixtures("settings")
async def test_reembedding_makes_what_the_present_model_would_have_made(
    database: Database, owner: User, other_owner: User, database_url: str, tiny: str
) -> None:
    async with lab(database_url) as runtime:
        await told(runtime, owner)
        await told(runtime, other_owner, ("Ann is away.", "In Oslo."))
    assert "5 memories and facts wait for tiny-bert@" in await command("db", "status")
    assert "5 memories and facts were not embedded by tiny-bert@" in await command(
        "db", "check", code=1
    )

    assert "5 memories and facts were embedded anew" in await command("db", "reembed")

    after = await vectors(database_url)
    assert "wait" not in await command("db", "status")
    assert "as they should be" in await command("db", "check")
    assert "Nothing waits" in await command("db", "reembed")
    async with database.accounts() as accounts:
        await accounts.delete(owner.name)
        await accounts.delete(other_owner.name)
        owner = await accounts.get_or_create("ann")
    async with lab(database_url, LAB_EMBEDDING_MODEL=tiny) as runtime:
        await told(runtime, owner)
        await told(runtime, owner, ("Ann is away.", "In Oslo."))
    assert after == await vectors(database_url)


async def test_the_doctor_says_how_many_memories_wait(
    database: Database, owner: User, database_url: str, settings: None
) -> None:
    async with lab(database_url) as runtime:
        await told(runtime, owner)

    assert "3 memories and facts were not embedded by tiny-bert@" in await command("doctor", code=1)
    await command("db", "reembed")
    assert "all embedded by tiny-bert@" in (
        await asyncio.to_thread(runner.invoke, main, ["doctor"])
    ).output.replace("\n", " ")


class Meanwhile:
    """An embedder under which something happens while it works."""

    def __init__(self, embedding: EmbeddingPipeline, happening: Any) -> None:
        self.model, self.signature = embedding.model, embedding.signature
        self._embedding, self._happening = embedding, happening

    async def embed(self, texts: Sequence[str], **kind: Any) -> Any:
        found = await self._embedding.embed(texts, **kind)
        await self._happening()
        return found

    def count_tokens(self, texts: Sequence[str]) -> int:
        return self._embedding.count_tokens(texts)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return self._embedding.token_counts(texts)


@pytest.mark.parametrize("change", ["corrected", "forgotten"])
async def test_what_changes_while_it_is_embedded_anew_stays_as_it_is_then(
    database: Database, owner: User, database_url: str, tiny: str, change: str
) -> None:
    async with lab(database_url) as runtime:
        await told(runtime, owner)
    async with lab(database_url, LAB_EMBEDDING_MODEL=tiny) as runtime:
        async with database.stores(owner.id) as stores:
            first: Memory = (await stores.memories.list())[-1]

        async def happen() -> None:
            if change == "corrected":
                await runtime.correct_memory(owner, first.id, "My dog is called Quavira.")
            else:
                async with database.stores(owner.id) as stores:
                    await stores.memories.delete(first.id)

        async with runtime.pipelines.embedding() as embedding:
            left = await reembedding.waiting(database, embedding)
            meanwhile = Meanwhile(embedding, happen)
            async for _ in reembedding.reembed(database, owner.id, meanwhile, left[owner.id]):
                pass
            after = await vectors(database_url)
            talk = ["My dog is called Quavira.", *TALK[1:]]
            alone, *together = await embedding.embed(["\n".join(talk[:n]) for n in (1, 2, 3)])

    if change == "corrected":
        _, vector, *_ = after["My dog is called Quavira."]
        np.testing.assert_allclose(np.array(json.loads(vector)), alone, atol=1e-5)
        for text, view in zip(TALK[1:], together, strict=True):
            np.testing.assert_allclose(np.array(json.loads(after[text][3])), view, atol=1e-5)
    else:
        assert all(after[text][2:] == [None, None] for text in TALK[1:])
    assert set(after) == {*TALK[1:], *(["My dog is called Quavira."] * (change == "corrected"))}


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("settings")
async def test_facts_are_embedded_anew_with_the_memories(
    database: Database, owner: User, database_url: str, tiny: str
) -> None:
    async with database.stores(owner.id) as stores:
        fact = await Fact().create(stores)  # by yet another model, as its memory
    async with lab(database_url, LAB_EMBEDDING_MODEL=tiny) as runtime:
        before = await runtime.search_facts(owner, "Is it anywhere?", 9)
    waiting = await command("db", "check", code=1)

    assert "2 memories and facts were embedded anew" in await command("db", "reembed")

    async with lab(database_url, LAB_EMBEDDING_MODEL=tiny) as runtime:
        (hit,) = await runtime.search_facts(owner, "Is it anywhere?", 9)
    assert before == []
    assert "2 memories and facts were not embedded by tiny-bert@" in waiting
    assert (hit.fact, hit.similarity is None) == (fact, False)


async def test_an_interrupted_reembedding_keeps_what_is_done_and_goes_on(
    database: Database, owner: User, database_url: str, settings: None, tiny: str
) -> None:
    n = 400
    async with lab(database_url) as runtime:
        await told(runtime, owner, [f"Turn {i} of many." for i in range(n)])

    process = await asyncio.create_subprocess_exec(
        *(LAB, "db", "reembed"),
        stdout=-1,
        stderr=-1,
        # What runs in the background of a shell ignores Ctrl-C, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        async with asyncio.timeout(150), held_up(database_url, f"Turn {n // 2} of many."):
            while await n_waiting(database_url) == n:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    left = await n_waiting(database_url)

    assert process.returncode == 130, said.decode()
    assert f"Stopped after {n - left} of {n} memories" in " ".join(said.decode().split())
    assert left % reembedding.BATCH == n % reembedding.BATCH
    assert f"{left} memories and facts were embedded anew" in await command("db", "reembed")
    assert await n_waiting(database_url) == 0


@asynccontextmanager
async def held_up(database_url: str, text: str) -> AsyncIterator[None]:
    """Keep others from changing the memory of that text."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute("SELECT FROM memories WHERE text = %s FOR UPDATE", [text])
        yield


async def n_waiting(database_url: str) -> int:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found = await connection.execute(
            "SELECT count(*) FROM memories WHERE embedding_model NOT LIKE 'tiny-bert@%'"
        )
        ((n,),) = await found.fetchall()
        return int(n)


def test_other_weights_of_one_name_have_another_signature(tmp_path: Path) -> None:
    folders = [save_tiny_bert(tmp_path / str(seed) / "tiny-bert", seed) for seed in (0, 0, 1)]
    one, same, other = (
        signature(configured(str(folder), None, Task.embedding), folder) for folder in folders
    )

    assert one.startswith("tiny-bert@")
    assert one == same != other
