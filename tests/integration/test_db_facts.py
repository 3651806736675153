"""Facts as they are stored: which hold, since when and until when, and which are found."""

from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import numpy as np
import pytest

from lab.db import Database, Stores
from lab.db.facts import SEEDS, Statement
from lab.errors import DimensionError, InputError
from lab.protocols import FloatArray
from lab.schemas.fact import Fact
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.text_part import TextPart
from lab.schemas.user import User

pytestmark = pytest.mark.integration

MODEL = "m@1"


def day(n: int) -> datetime:
    return datetime(2026, 11, n, tzinfo=UTC)


def towards(*axes: int) -> FloatArray:
    """Return an embedding (N, 768) for each axis."""
    return np.eye(768, dtype=np.float32)[list(axes)]


async def new_chat(stores: Stores) -> UUID:
    return (await stores.conversations.create("chat")).id


async def said(stores: Stores, chat: UUID, at: datetime) -> Memory:
    part = TextPart(text="x")
    message = await stores.messages.add(chat, Role.user, [part], said_at=at)
    return await stores.memories.add(message, "x", towards(0)[0], model=MODEL)


async def tell(
    stores: Stores, chat: UUID, at: datetime, *facts: tuple[str, str], axis: int = 0
) -> Summary:
    """Store a message, its summary, and the facts that it told."""
    memory = await said(stores, chat, at)
    summary = await stores.summaries.add(
        [memory], level=1, text="x", style=SummaryStyle.brief, model="m", n_tokens=1
    )
    assert summary is not None
    statements = [Statement(about, text) for about, text in facts]
    await stores.facts.add(summary, statements, towards(*[axis] * len(facts)), model=MODEL)
    return summary


def intervals(facts: list[Fact]) -> list[tuple[str, int, int | None]]:
    return [(f.text, f.valid_from.day, f.valid_until.day if f.valid_until else None) for f in facts]


async def test_of_facts_about_the_same_the_last_told_holds(database: Database, owner: User) -> None:
    async with database.stores(owner.id) as stores:
        chat = await new_chat(stores)
        await tell(stores, chat, day(1), ("The dog is called", "Bo."), ("I live in", "Oslo."))
        await tell(stores, chat, day(3), ("the  DOG is called ", "Bo."))
        await tell(stores, chat, day(5), ("The dog is called", "Rex."))

        held = await stores.facts.list()
        ever = await stores.facts.list(history=True)

    assert intervals(held) == [("Rex.", 5, None), ("Oslo.", 1, None)]
    assert intervals(ever) == [
        ("Rex.", 5, None),
        ("Bo.", 3, 5),
        ("Oslo.", 1, None),
        ("Bo.", 1, 5),
    ]


async def test_what_was_said_later_counts_and_not_what_was_stored_later(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        one, other = await new_chat(stores), await new_chat(stores)
        await tell(stores, one, day(9), ("home", "Oslo."))
        await tell(stores, other, day(2), ("home", "Rome."))

        assert intervals(await stores.facts.list()) == [("Oslo.", 9, None)]
        assert intervals(await stores.facts.list(conversation_id=other)) == [("Rome.", 2, None)]
        assert intervals(await stores.facts.list(conversation_id=other, history=True)) == [
            ("Rome.", 2, None)
        ]
        assert ("Rome.", 2, 9) in intervals(await stores.facts.list(history=True))


async def test_at_one_moment_the_later_message_counts_then_the_later_line(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        chat = await new_chat(stores)
        await tell(stores, chat, day(1), ("home", "Oslo."), ("home", "Rome."))
        await tell(stores, chat, day(1), ("home", "Bonn."), ("home", "Lima."))

        assert [fact.text for fact in await stores.facts.list()] == ["Lima."]
        assert [fact.text for fact in await stores.facts.list(history=True)] == [
            *("Lima.", "Bonn.", "Rome.", "Oslo.")
        ]


async def test_what_is_forgotten_lets_the_former_hold_again(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        chat = await new_chat(stores)
        await tell(stores, chat, day(1), ("home", "Oslo."))
        await tell(stores, chat, day(2), ("home", "Rome."))
        (fact,) = await stores.facts.list()
        await stores.memories.delete(fact.memory_ids[0])

        assert intervals(await stores.facts.list(history=True)) == [("Oslo.", 1, None)]


async def test_facts_of_a_summary_take_the_place_of_those_before(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        summary = await tell(stores, await new_chat(stores), day(1), ("a", "A."), ("b", "B."))
        await stores.facts.add(summary, [Statement("c", "C.")], towards(1), model=MODEL)
        told = [fact.text for fact in await stores.facts.list()]
        await stores.facts.add(summary, [], towards(), model=MODEL)

        assert told == ["C."]
        assert await stores.facts.list() == []
        assert not await stores.facts.are_there()


async def test_a_search_finds_by_words_and_by_meaning_only_what_holds(
    database: Database, owner: User, other_owner: User
) -> None:
    async with database.stores(other_owner.id) as stores:
        await tell(stores, await new_chat(stores), day(1), ("wine", "Wine is red."), axis=7)
    async with database.stores(owner.id) as stores:
        chat = await new_chat(stores)
        await tell(stores, chat, day(1), ("dog", "The dog barks."), axis=1)
        await tell(stores, chat, day(2), ("dog", "The dog sleeps."), axis=2)
        await tell(stores, chat, day(3), ("sea", "The sea is blue."), axis=7)
        for n in range(SEEDS):
            await tell(stores, chat, day(4), (f"thing {n}", f"Thing {n}."), axis=3)

        ask = partial(stores.facts.signals, "Dogs?", towards(7)[0], about_user=False)
        found = await ask(model=MODEL)
        other = await ask(model="other@1")
        ever = await ask(model=MODEL, history=True)
        facts = await stores.facts.some([*found.ids, *ever.ids])

    held = {facts[id].text: i for i, id in enumerate(found.ids)}
    former = {facts[id].text: i for i, id in enumerate(ever.ids)}["The dog barks."]
    assert "The dog barks." not in held
    assert found.words[held["The dog sleeps."]] > 0
    assert found.similarity[held["The sea is blue."]] == 1
    assert len(found.ids) <= 2 * SEEDS
    assert [facts[id].text for id in other.ids] == ["The dog sleeps."]
    assert np.isnan(other.similarity).all()
    assert ever.words[former] > 0
    assert facts[ever.ids[former]].valid_until == day(2)


async def test_what_is_known_about_the_nearest_is_told_nearest_first(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        chat = await new_chat(stores)
        await tell(stores, chat, day(1), ("far", "Far."), axis=5)
        await tell(stores, chat, day(1), ("near", "Near."), axis=0)
        await tell(stores, chat, day(2), ("Near", "Nearer."), axis=5)
        memory = await said(stores, await new_chat(stores), day(3))

        assert await stores.facts.abouts([memory], 9) in (["near", "far"], ["Near", "far"])
        assert len(await stores.facts.abouts([memory], 1)) == 1
        assert await stores.facts.abouts([memory], 9, memory.conversation_id) == []


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.ones((1, 384), np.float32), DimensionError),
        (np.zeros((1, 768), np.float32), InputError),
        (np.full((1, 768), np.nan, np.float32), InputError),
    ],
)
async def test_an_embedding_without_a_direction_is_refused(
    database: Database, owner: User, vectors: FloatArray, error: type[Exception]
) -> None:
    async with database.stores(owner.id) as stores:
        summary = await tell(stores, await new_chat(stores), day(1))
        with pytest.raises(error):
            await stores.facts.add(summary, [Statement("a", "A.")], vectors, model=MODEL)


async def test_what_names_the_user_speaks_of_a_question_for_what_is_theirs(
    database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        chat = await new_chat(stores)
        await tell(stores, chat, day(1), ("home", "The user lives in Rome."), axis=1)
        await tell(stores, chat, day(2), ("ann", "Ann lives in Oslo."), axis=1)

        mine = await stores.facts.signals("My home?", towards(7)[0], model=MODEL, about_user=True)
        hers = await stores.facts.signals("Her home?", towards(7)[0], model=MODEL, about_user=False)

    assert sorted(mine.spoken) == [False, True]
    assert not hers.spoken.any()
    assert not mine.words.any()  # that they are the user's is no word of the question
