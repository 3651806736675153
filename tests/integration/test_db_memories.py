"""Search by meaning is exact, and stays inside what was asked for."""

import numpy as np
import psycopg
import pytest

from lab.db import Database, Stores
from lab.errors import ConflictError, DimensionError, InputError
from lab.protocols import FloatArray
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.schemas.user import User

pytestmark = pytest.mark.integration


def vectors(n: int, seed: int = 0) -> FloatArray:
    drawn = np.random.default_rng(seed).standard_normal((n, 768), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


async def remember(stores: Stores, embeddings: FloatArray) -> list[Memory]:
    """Store a conversation with one memory for each embedding."""
    conversation = await stores.conversations.create("chat")
    memories = []
    for n, embedding in enumerate(embeddings):
        message = await stores.messages.add(conversation.id, Role.user, [])
        memories.append(await stores.memories.add(message, f"memory {n}", embedding))
    return memories


async def test_search_finds_the_nearest_in_exact_order(database: Database, owner: User) -> None:
    stored, (query,) = vectors(50), vectors(1, seed=1)
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, stored)
        hits = await stores.memories.search(query, 10)

    similarity = stored @ query
    best = np.argsort(-similarity)[:10]
    assert [hit.memory.id for hit in hits] == [memories[i].id for i in best]
    np.testing.assert_allclose([hit.score for hit in hits], similarity[best], atol=1e-5)


async def test_more_than_there_is_gives_all(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        await remember(stores, vectors(3))

        assert len(await stores.memories.search(vectors(1)[0], 10)) == 3
        assert await stores.memories.search(vectors(1)[0], 0) == []


async def test_equal_scores_come_in_the_order_of_writing(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        same = await remember(stores, np.repeat(vectors(1), 5, axis=0))
        hits = await stores.memories.search(vectors(1)[0], 5)

    assert [hit.memory.id for hit in hits] == [memory.id for memory in same]


async def test_search_can_stay_in_one_conversation(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        here = await remember(stores, vectors(3, seed=1))
        await remember(stores, vectors(3, seed=2))
        chat = here[0].conversation_id
        hits = await stores.memories.search(vectors(1)[0], 10, conversation_id=chat)
        listed = await stores.memories.list(conversation_id=chat)

    assert {hit.memory.id for hit in hits} == {m.id for m in here} == {m.id for m in listed}


async def test_excluded_messages_make_room_for_others(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, vectors(6))
        excluded = [m.message_id for m in memories[:3]]
        hits = await stores.memories.search(vectors(6)[0], 3, exclude_message_ids=excluded)

    assert {hit.memory.id for hit in hits} == {m.id for m in memories[3:]}


async def test_search_never_finds_what_another_user_said(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        (theirs,) = await remember(stores, vectors(1))
    async with database.stores(other_owner.id) as stores:
        assert await stores.memories.search(vectors(1)[0], 10) == []
        chat = theirs.conversation_id
        assert await stores.memories.search(vectors(1)[0], 10, conversation_id=chat) == []


async def test_a_message_is_remembered_once(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        (memory,) = await remember(stores, vectors(1))
        message = await stores.messages.get(memory.message_id)
    with pytest.raises(ConflictError):
        async with database.stores(owner.id) as stores:
            await stores.memories.add(message, "x", vectors(1)[0])


async def test_a_vector_of_the_wrong_length_is_refused(database: Database, owner: User) -> None:
    short = np.ones(384, dtype=np.float32)
    async with database.stores(owner.id) as stores:
        (memory,) = await remember(stores, vectors(1))
        message = await stores.messages.get(memory.message_id)
        with pytest.raises(DimensionError, match=r"query has shape \(384,\), expected \(768,\)"):
            await stores.memories.search(short, 3)
        with pytest.raises(DimensionError, match="embedding has shape"):
            await stores.memories.add(message, "x", short)


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
async def test_a_vector_without_direction_is_refused(
    database: Database, owner: User, value: float
) -> None:
    async with database.stores(owner.id) as stores:
        with pytest.raises(InputError, match="no direction"):
            await stores.memories.search(np.full(768, value, dtype=np.float32), 3)


async def test_vectors_lie_in_their_rows(database_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found = await connection.execute(
            "SELECT attstorage FROM pg_attribute "
            "WHERE attrelid = 'memories'::regclass AND attname = 'embedding'"
        )
        assert await found.fetchone() == ("p",)
