"""What speaks for a turn is exact, and stays inside what was asked for."""

from collections.abc import Sequence

import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from lab.db import Database, Stores
from lab.db.nearest import Within, nearest
from lab.errors import ConflictError, DimensionError, InputError
from lab.protocols import FloatArray, Signals
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.schemas.user import User

pytestmark = pytest.mark.integration

QUESTION = "Where is the canary?"
MODEL = "model@1"


def vectors(n: int, seed: int = 0) -> FloatArray:
    drawn = np.random.default_rng(seed).standard_normal((n, 768), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


async def remember(
    stores: Stores,
    texts: Sequence[str],
    embeddings: FloatArray | None = None,
    *,
    names: Sequence[str | None] = (None,),
    roles: Sequence[Role] = (Role.user,),
) -> list[Memory]:
    """Store a conversation with a memory for each text; names and roles take turns."""
    embeddings = vectors(len(texts)) if embeddings is None else embeddings
    conversation = await stores.conversations.create("chat")
    memories = []
    for n, (said, embedding) in enumerate(zip(texts, embeddings, strict=True)):
        message = await stores.messages.add(
            conversation.id, roles[n % len(roles)], [], name=names[n % len(names)]
        )
        memories.append(await stores.memories.add(message, said, embedding, model=MODEL))
    return memories


def ids(memories: Sequence[Memory]) -> list[object]:
    return [memory.id for memory in memories]


async def ask(stores: Stores, question: str = QUESTION) -> Signals:
    return await stores.memories.signals(question, vectors(1, seed=9)[0], model=MODEL)


async def test_similarity_is_the_cosine_of_each_turn_in_order(
    database: Database, owner: User
) -> None:
    stored, (query,) = vectors(50), vectors(1, seed=1)
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, ["word"] * 50, stored)
        found = await stores.memories.signals(QUESTION, query, model=MODEL)

    assert found.ids == ids(memories)
    np.testing.assert_allclose(found.similarity, stored @ query, atol=1e-5)
    assert np.isnan(found.context_similarity).all()
    assert found.position.tolist() == list(range(50))


async def test_a_turn_after_another_is_also_compared_together_with_it(
    database: Database, owner: User
) -> None:
    alone, together, query = vectors(3)
    async with database.stores(owner.id) as stores:
        conversation = await stores.conversations.create("chat")
        message = await stores.messages.add(conversation.id, Role.user, [])
        await stores.memories.add(message, "In Oslo.", alone, together, model=MODEL)
        found = await stores.memories.signals(QUESTION, query, model=MODEL)

    np.testing.assert_allclose(found.similarity, [alone @ query], atol=1e-5)
    np.testing.assert_allclose(found.context_similarity, [together @ query], atol=1e-5)


async def test_rare_words_count_more_and_inflections_are_one_word(
    database: Database, owner: User
) -> None:
    texts = ["Canaries sing.", "Where to?", "Where is Ann?", "The canary and the house.", "House."]
    async with database.stores(owner.id) as stores:
        await remember(stores, texts)
        words = (await ask(stores, "Which house has the canary that never sings?")).words

    assert words[0] > words[3] > words[4] > 0
    assert words[1] == words[2] == 0


async def test_words_score_what_bm25_says(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        await remember(stores, ["canary canary song", "canary", "boat"])
        words = (await ask(stores)).words

    rarity, mean = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), 2
    expected = [
        rarity * n * 2.2 / (n + 1.2 * (0.6 + 0.4 * length / mean)) for n, length in ((2, 3), (1, 1))
    ]
    np.testing.assert_allclose(words, [*expected, 0], rtol=1e-5)


async def test_the_neighbours_of_a_hit_come_with_it(database: Database, owner: User) -> None:
    many = 600
    texts = ["talk"] * many
    texts[300] = "canary"
    away = np.repeat(-vectors(1, seed=9), many, axis=0)
    away[:200] *= -1  # the 200 nearest in meaning stand elsewhere
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, texts, away)
        found = await ask(stores)

    assert ids(memories[298:303]) == [id for id in found.ids if id in ids(memories[250:])]


async def test_a_name_in_the_question_means_its_speaker_and_not_the_word(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        await remember(stores, ["Hi Ann!", "I keep bees.", "ann"], names=["Bob", "Ann", None])
        found = await ask(stores, "What does Ann keep?")

    assert found.spoken.tolist() == [False, True, False]
    assert found.words[0] == found.words[2] == 0 < found.words[1]


async def test_a_question_without_names_means_the_role_it_asks_for(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        await remember(stores, ["one", "two"], roles=[Role.user, Role.assistant])
        query = vectors(1)[0]
        by_user = await stores.memories.signals("My dog?", query, model=MODEL, role=Role.user)
        by_nobody = await stores.memories.signals("Why?", query, model=MODEL)

    assert by_user.spoken.tolist() == [True, False]
    assert by_nobody.spoken.tolist() == [False, False]


async def test_search_can_stay_in_one_conversation(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        here = await remember(stores, ["canary"] * 3)
        there = await remember(stores, ["canary"] * 3)
        chat = here[0].conversation_id
        query = vectors(1)[0]
        found = await stores.memories.signals(QUESTION, query, model=MODEL, conversation_ids=[chat])
        everywhere = await stores.memories.signals(QUESTION, query, model=MODEL)
        listed = await stores.memories.list(conversation_id=chat)

    assert found.ids == ids(here) == ids(listed[::-1])
    assert everywhere.ids == ids(here + there)
    assert everywhere.chat.tolist() == [0, 0, 0, 1, 1, 1]


async def test_excluded_messages_are_left_out(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, ["canary"] * 6)
        excluded = [memory.message_id for memory in memories[:3]]
        found = await stores.memories.signals(
            QUESTION, vectors(1)[0], model=MODEL, excluded=excluded
        )

    assert found.ids == ids(memories[3:])


async def test_search_never_finds_what_another_user_said(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        (theirs,) = await remember(stores, ["canary"], names=["Ann"])
    async with database.stores(other_owner.id) as stores:
        assert (await ask(stores)).ids == []
        chat = theirs.conversation_id
        query = vectors(1)[0]
        assert (
            await stores.memories.signals(QUESTION, query, model=MODEL, conversation_ids=[chat])
        ).ids == []
        assert await stores.memories.some([theirs.id]) == {}
        assert await stores.memories.before(chat, most=1) == []


async def test_forgetting_takes_words_and_context_with_it(
    database: Database, owner: User, database_url: str
) -> None:
    async with database.stores(owner.id) as stores:
        conversation = await stores.conversations.create("chat")
        message = await stores.messages.add(conversation.id, Role.user, [])
        memory = await stores.memories.add(message, "canary", *vectors(2), model=MODEL)
    async with database.stores(owner.id) as stores:
        await stores.memories.delete(memory.id)

    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        for table in ("memories", "memory_terms", "memory_contexts"):
            found = await connection.execute(f"SELECT count(*) FROM {table}".encode())
            assert await found.fetchone() == (0,), table


async def test_a_message_is_remembered_once(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        (memory,) = await remember(stores, ["x"])
        message = await stores.messages.get(memory.message_id)
    with pytest.raises(ConflictError):
        async with database.stores(owner.id) as stores:
            await stores.memories.add(message, "x", vectors(1)[0], model=MODEL)


@pytest.mark.parametrize(
    "said",
    [
        "x" * 3_000_000,
        "canary " * 300_000,
        "ж" * 5000,
        "😀 \u202e \ufffe",
        "' ; DROP TABLE memories",
    ],
    ids=["one endless word", "two megabytes", "Cyrillic", "odd characters", "SQL"],
)
async def test_any_text_is_remembered_and_asked_for(
    database: Database, owner: User, said: str
) -> None:
    async with database.stores(owner.id) as stores:
        (memory,) = await remember(stores, [said])
        found = await ask(stores, said)

    assert memory.text == said
    assert found.ids == [memory.id]


@pytest.fixture
def by_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few turns count as very many."""
    monkeypatch.setattr("lab.db.nearest.LEAST_FOR_GRAPH", 50)


@pytest.mark.usefixtures("by_graph")
@pytest.mark.parametrize("all_seen", [150_000, 100], ids=["as many as asked for", "more"])
async def test_among_very_many_turns_the_nearest_are_found_by_the_index(
    database: Database,
    owner: User,
    other_owner: User,
    monkeypatch: pytest.MonkeyPatch,
    all_seen: int,
) -> None:
    monkeypatch.setattr("lab.db.nearest.ALL_SEEN", all_seen)
    monkeypatch.setattr("lab.db.nearest.ONE_IN", 3)
    stored, queries, limit = vectors(600), vectors(5, seed=1), 100
    async with database.stores(other_owner.id) as stores:
        await remember(stores, ["word"] * 600, queries[np.arange(600) % 5])
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, ["word"] * 600, stored)
        session = stores.memories._session
        places = {memory.id: i for i, memory in enumerate(memories)}
        shares = []
        for query in queries:
            found = await nearest(session, Within(owner.id, None, 600), query, MODEL, limit)
            assert len(set(found)) == limit
            exact = set(np.argsort(-(stored @ query))[:10])
            shares.append(len(exact & {places[id] for id in found}) / 10)

    assert np.mean(shares) >= 0.9  # of 50; `benchmarks/store.py` measures it


@pytest.mark.usefixtures("by_graph")
async def test_the_index_finds_no_fewer_in_one_chat_or_of_one_model(
    database: Database, owner: User
) -> None:
    (query,) = vectors(1, seed=1)
    async with database.stores(owner.id) as stores:
        await remember(stores, ["word"] * 600)
        here = await remember(stores, ["word"] * 60, vectors(60, seed=2))
        session, chat = stores.memories._session, here[0].conversation_id
        found = await nearest(session, Within(owner.id, [chat], 60), query, MODEL, 55)
        for memory in here[:30]:
            await stores.memories.renew(memory.id, query, model="model@2")
        renewed = await nearest(session, Within(owner.id, None, 660), query, "model@2", 55)

    assert len(found) == 55
    assert set(found) <= set(ids(here))
    assert set(renewed) == set(ids(here[:30]))


@pytest.mark.usefixtures("by_graph")
async def test_the_index_is_what_finds_them(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        await remember(stores, ["word"] * 300)
        session = stores.memories._session
        await nearest(session, Within(owner.id, None, 300), vectors(1)[0], MODEL, 100)
        scans = "SELECT pg_stat_get_xact_numscans('ix_memories_embedding_in_space'::regclass)"
        assert await session.scalar(text(scans)) == 1


async def test_words_too_common_to_read_still_count(
    database: Database, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["canary song", "canary", "boat", "canary boat", *["song"] * 6]
    question = "Which canary song?"
    async with database.stores(owner.id) as stores:
        memories = await remember(stores, texts)
        exact = await ask(stores, question)
        by_most = {}
        for most in (2, 5):  # the newest of the rarest word only; the rarest word, and not `song`
            monkeypatch.setattr("lab.db.recall.MOST_POSTINGS", most)
            by_most[most] = await ask(stores, question)

    assert exact.ids == ids(memories)
    for found in by_most.values():
        assert found.ids == exact.ids
        np.testing.assert_allclose(found.words, exact.words, rtol=1e-5)


async def test_a_vector_of_the_wrong_length_is_refused(database: Database, owner: User) -> None:
    short = np.ones(384, dtype=np.float32)
    async with database.stores(owner.id) as stores:
        (memory,) = await remember(stores, ["x"])
        message = await stores.messages.get(memory.message_id)
        with pytest.raises(DimensionError, match=r"query has shape \(384,\), expected \(768,\)"):
            await stores.memories.signals(QUESTION, short, model=MODEL)
        with pytest.raises(DimensionError, match="embedding has shape"):
            await stores.memories.add(message, "x", short, model=MODEL)


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
async def test_a_vector_without_direction_is_refused(
    database: Database, owner: User, value: float
) -> None:
    async with database.stores(owner.id) as stores:
        with pytest.raises(InputError, match="no direction"):
            await stores.memories.signals(
                QUESTION, np.full(768, value, dtype=np.float32), model=MODEL
            )


@pytest.mark.parametrize("table", ["memories", "memory_contexts"])
async def test_vectors_lie_in_their_rows(database_url: str, table: str) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found = await connection.execute(
            "SELECT attstorage FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attname = 'embedding'",
            [table],
        )
        assert await found.fetchone() == ("p",)
