"""Documents in the database: what speaks for a passage, and whose it is."""

import time
from hashlib import sha256

import numpy as np
import pytest

from lab.db import Database, Stores
from lab.errors import DimensionError, InputError
from lab.protocols import FloatArray, Passage
from lab.schemas.document import Document
from lab.schemas.user import User
from tests.integration.conftest import execute

pytestmark = pytest.mark.integration

PARTS = ("The canary sings.", "It rains.", "The boat is blue.", "It snows.", "The end is near.")


def direction(axis: int) -> FloatArray:
    return np.eye(768, dtype=np.float32)[axis]


async def store(
    stores: Stores, parts: tuple[str, ...] = PARTS, model: str = "m", name: str = "a.txt"
) -> Document:
    """Store a document whose passages point in directions of their own."""
    text = " ".join(parts)
    places = [text.index(part) for part in parts]
    made = await stores.documents.add(
        text,
        [Passage(i, i + len(part), part) for i, part in zip(places, parts, strict=True)],
        np.eye(len(parts), 768, dtype=np.float32),
        name=name,
        media_type="text/plain",
        sha256=sha256(f"{model}{text}".encode()).hexdigest(),
        n_bytes=len(text),
        embedding_model=model,
    )
    assert made is not None
    return made


async def test_words_and_meaning_speak_for_a_passage(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        document = await store(stores)
        found = await stores.documents.signals("Do canaries sing?", direction(2), "m")
        chunks = await stores.documents.chunks(document.id)

    assert [chunk.text for chunk in chunks] == list(PARTS)
    assert list(found.ids) == [chunk.id for chunk in chunks]
    assert found.position.tolist() == [0, 1, 2, 3, 4]
    assert found.words[0] > 0
    assert found.words[1:].tolist() == [0, 0, 0, 0]
    assert found.similarity.tolist() == [0, 0, 1, 0, 0]


async def test_rare_words_count_more(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        await store(stores, ("The blue boat.", "The blue sea.", "A canary."))
        found = await stores.documents.signals("blue canary", direction(9), "m")

    assert found.words[2] > found.words[0] == found.words[1] > 0


@pytest.mark.parametrize("word", ["canary", "O'Neil", r"C:\\boats\\blue.txt", "a.org/x?a=1&b=2"])
async def test_a_word_counts_the_same_in_a_question_of_very_many(
    database: Database, owner: User, word: str
) -> None:
    others = " ".join(f"other{n}" for n in range(500))
    async with database.stores(owner.id) as stores:
        await store(stores, ("The blue boat.", "It rains.", f"See {word} there.", "The end."))
        alone = await stores.documents.signals(word, direction(9), "m")
        among = await stores.documents.signals(f"{others} {word}", direction(9), "m")

    assert alone.words[2] > 0
    assert among.words.tolist() == alone.words.tolist()


async def test_a_question_of_very_many_words_over_many_passages_is_answered_soon(
    database: Database, database_url: str, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        await store(stores)
    await execute(
        database_url,
        """
        INSERT INTO document_chunks (id, owner_id, document_id, position, start, "end", text,
            embedding)
        SELECT gen_random_uuid(), owner_id, document_id, 9 + n, 0, 1,
            (SELECT string_agg('w' || (n * 37 + i * i) % 5000, ' ') FROM generate_series(1, 90) i),
            embedding
        FROM document_chunks, generate_series(1, 4000) n WHERE position = 0
        """,
    )
    question = " ".join(f"w{n}" for n in range(0, 4500, 3))
    begun = time.perf_counter()
    async with database.stores(owner.id) as stores:
        found = await stores.documents.signals(question, direction(9), "m")

    assert time.perf_counter() - begun < 1.5
    assert (found.words > 0).sum() > 100


async def test_what_another_model_embedded_is_found_by_its_words(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        await store(stores, ("The canary sings.",), model="former")
        by_words = await stores.documents.signals("canary", direction(0), "m")
        by_meaning = await stores.documents.signals("bird", direction(0), "m")

    assert by_words.words[0] > 0
    assert by_words.similarity.tolist() == [0]
    assert list(by_meaning.ids) == []


async def test_nobody_else_sees_a_passage(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        document = await store(stores)
        ids = [chunk.id for chunk in await stores.documents.chunks(document.id)]
    async with database.stores(other_owner.id) as stores:
        found = await stores.documents.signals("canary", direction(0), "m")
        assert list(found.ids) == []
        assert await stores.documents.some(ids) == {}
        assert not await stores.documents.are_there()
        assert await stores.documents.of_bytes(document.sha256) is None


async def test_a_part_of_a_text_is_cut_by_characters(database: Database, owner: User) -> None:
    text = "𝄞 clef. 漢字 here."
    async with database.stores(owner.id) as stores:
        document = await store(stores, (text,))
        parts = [await stores.documents.text(document.id, *place) for place in ((0, 1), (8, 10))]
        beyond = await stores.documents.text(document.id, 500, 600)

    assert parts == ["𝄞", "漢字"]
    assert beyond == ""


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.ones((2, 768), np.float32), DimensionError),
        (np.zeros((1, 768), np.float32), InputError),
        (np.full((1, 768), np.nan, np.float32), InputError),
    ],
)
async def test_vectors_that_are_none_are_refused(
    database: Database, owner: User, vectors: FloatArray, error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with database.stores(owner.id) as stores:
            await stores.documents.add("x", [Passage(0, 1, "x")], vectors)
