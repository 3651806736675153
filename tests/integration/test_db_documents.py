"""Documents in the database: what speaks for a passage, and whose it is."""

from hashlib import sha256

import numpy as np
import pytest

from lab.db import Database, Stores
from lab.errors import DimensionError, InputError
from lab.protocols import FloatArray, Passage
from lab.schemas.document import Document
from lab.schemas.user import User

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
