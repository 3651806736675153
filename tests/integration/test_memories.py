"""What a person does with their memories: read, correct, forget."""

import asyncio
import json
from collections.abc import Sequence
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest

from lab.client import Lab, connect
from lab.errors import InputError, NotFoundError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from tests.api_server import Api
from tests.stack import LAB

pytestmark = pytest.mark.integration

TALK = ("My dog is called Rexa.", "It is sunny.", "And windy.")


async def told(lab: Lab, texts: Sequence[str] = TALK) -> list[Memory]:
    """Hold a chat and return its memories, the first said first."""
    chat = await lab.conversations.create("told")
    messages = [ChatMessage(role=Role.user, content=text) for text in texts]
    await lab.conversations.add(chat.id, messages)
    found = [m for m in await lab.memories.list() if m.conversation_id == chat.id]
    return found[::-1]


async def found(lab: Lab, question: str) -> list[str]:
    return [hit.memory.text for hit in await lab.memories.search(question)]


async def contexts(database_url: str) -> dict[UUID, str]:
    """Return the embedding of each memory together with those before it."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        rows = await connection.execute("SELECT memory_id, embedding::text FROM memory_contexts")
        return dict(await rows.fetchall())


async def test_a_corrected_memory_is_found_by_its_new_words_only(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        first, *_ = await told(lab)

        corrected = await lab.memories.correct(first.id, " My dog is called Quavira. ")

        assert corrected == first.model_copy(update={"text": "My dog is called Quavira."})
        assert await lab.memories.get(first.id) == corrected
        (best, *_) = await found(lab, "Quavira")
        assert best == "My dog is called Quavira."
        assert "My dog is called Rexa." not in await found(lab, "Rexa")
        (said, *_) = await lab.conversations.messages(first.conversation_id)
        assert said.id == first.message_id


async def test_what_was_embedded_with_a_corrected_memory_is_that_of_a_new_chat(
    api: Api, ann: str, database_url: str
) -> None:
    async with connect(api.url, ann) as lab:
        talk = [*TALK, "So stay in.", "Or go out."]
        _, second, *later = await told(lab, talk)
        anew = await told(lab, [TALK[0], "It rains.", *talk[2:]])
        before = await contexts(database_url)

        await lab.memories.correct(second.id, "It rains.")

        after = await contexts(database_url)
    together, (apart,) = [second, *later[:2]], later[2:]
    assert all(after[memory.id] != before[memory.id] for memory in together)
    assert after[apart.id] == before[apart.id]
    for memory, new in zip((*together, apart), anew[1:], strict=True):
        is_, should_be = (json.loads(after[one.id]) for one in (memory, new))
        np.testing.assert_allclose(is_, should_be, atol=1e-5)


@pytest.mark.parametrize("forgotten", ["memory", "message"])
async def test_nothing_of_what_is_forgotten_stays_in_the_embeddings_after_it(
    api: Api, ann: str, database_url: str, forgotten: str
) -> None:
    async with connect(api.url, ann) as lab:
        first, *others = await told(lab, (*TALK, "So stay in.", "Or go out."))

        if forgotten == "memory":
            await lab.memories.delete(first.id)
        else:
            async with api.client(ann) as client:
                path = f"/v1/conversations/{first.conversation_id}/messages/{first.message_id}"
                assert (await client.delete(path)).status_code == 204

        assert "My dog is called Rexa." not in await found(lab, "Rexa dog")
        assert set(await contexts(database_url)) == {memory.id for memory in others[2:]}
        assert {m.id for m in await lab.memories.list()} == {memory.id for memory in others}


async def test_the_memories_of_one_chat_or_all_are_forgotten(api: Api, ann: str, bob: str) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        one, other, mine = [await told(lab) for lab in (hers, hers, his)]

        await hers.memories.delete_all(one[0].conversation_id)
        assert {m.id for m in await hers.memories.list()} == {m.id for m in other}

        with pytest.raises(NotFoundError):
            await hers.memories.delete_all(mine[0].conversation_id)
        await hers.memories.delete_all()
        assert await hers.memories.list() == []
        assert len(await hers.conversations.messages(one[0].conversation_id)) == len(TALK)
        assert {m.id for m in await his.memories.list()} == {m.id for m in mine}


@pytest.mark.parametrize("query", [{}, {"all": False}, {"all": True, "conversation_id": uuid4()}])
async def test_forgetting_needs_to_be_told_what(
    api: Api, ann: str, query: dict[str, object]
) -> None:
    async with api.client(ann) as client, connect(api.url, ann) as lab:
        await told(lab)
        answer = await client.delete("/v1/memories", params={k: str(v) for k, v in query.items()})
        assert answer.status_code == 400
        assert "either `conversation_id=ID`" in answer.json()["error"]["message"]
        assert len(await lab.memories.list()) == len(TALK)


async def test_a_memory_cannot_be_made_blank_or_be_anothers(api: Api, ann: str, bob: str) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        first, *_ = await told(hers)
        with pytest.raises(InputError, match="cannot be blank"):
            await hers.memories.correct(first.id, "  ")
        with pytest.raises(NotFoundError):
            await his.memories.correct(first.id, "Mine.")
        assert await hers.memories.get(first.id) == first


async def test_the_command_line_reads_corrects_and_forgets(api: Api, ann: str) -> None:
    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(LAB, "memories", *arguments),
            env={"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "200"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    async with connect(api.url, ann) as lab:
        first, second, _ = await told(lab)
        listed = json.loads((await run("list", "--json"))[1])
        corrected = await run("correct", str(first.id), "My dog is called Quavira.")
        searched = await run("search", "What is my dog called?")
        unclear = await run("delete")
        asked = await run("delete", "--all")
        deleted = await run("delete", str(second.id))
        left = await lab.memories.list()
        everything = await run("delete", "--all", "--yes")
        none = await lab.memories.list()

    assert [row["text"] for row in listed] == list(TALK[::-1])
    assert "Quavira" in corrected[1]
    assert "Quavira" in searched[1].splitlines()[1]
    assert (unclear[0], asked[0], deleted[0], everything[0]) == (1, 1, 0, 0)
    assert "Say what to forget" in unclear[2]
    assert (len(left), none) == (2, [])
