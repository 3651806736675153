"""How facts are asked for and read."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from lab.db.facts import key_of
from lab.prompts import FACTS_INSTRUCTION
from lab.schemas.finish_reason import FinishReason
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.training.facts import draw_slots, give_value
from lab.training.values import World
from lab.workflows.extraction import extract
from lab.workflows.statements import MOST_ABOUT, MOST_TEXT, in_answer, in_sentences
from tests.unit.test_workflows_summary import Copyist


def about(sentence: str) -> str:
    (fact,) = in_sentences(f"- {sentence}")
    assert fact.text == sentence
    return key_of(fact.about)


def said(text: str) -> Memory:
    return Memory(
        id=UUID(int=1),
        owner_id=UUID(int=2),
        conversation_id=UUID(int=3),
        message_id=UUID(int=4),
        position=0,
        role=Role.user,
        text=text,
        created_at=datetime(2026, 11, 26, tzinfo=UTC),
    )


def test_whatever_the_bundled_model_is_told_of_one_thing_is_about_the_same() -> None:
    """Each kind of sentence that it learnt to write, many times over, with two values each."""
    seen: dict[str, str] = {}
    for seed in range(40):
        for slot in draw_slots(World(seed, "eval"), 100):
            former = give_value(slot)
            later = give_value(slot, other_than=former.value)

            assert about(former.summary) == about(later.summary), (former, later)
            assert about(former.summary) != former.summary.casefold(), former
            assert seen.setdefault(about(former.summary), slot.key) == slot.key
    assert len(seen) > 1000


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The key is in the drawer.", "The key is on the shelf."),
        ("Ann is 9 years old.", "Ann's age is 10."),
        ("Ann works as a cook.", "Ann works as an actor."),
        ("ANN LIVES IN Oslo.", "Ann lives in Rome."),
        ("The user's birthday is on 3 May.", "The user's birthday is on the 4th of May."),
    ],
)
def test_two_values_of_one_thing_are_about_the_same(one: str, other: str) -> None:
    assert about(one) == about(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The party is on 3 May.", "The party is in Oslo."),
        ("The party is at 10:30.", "The party is on 3 May."),
        ("The bag is red.", "The bag is in the hall."),
        ("The user is learning French.", "The user is 9 years old."),
        ("Ann works as a cook.", "Ann works at Acme."),
        ("Ann likes tea.", "Ann likes rain."),
        ("Ann has a dog.", "Ann has a cat."),
    ],
)
def test_what_may_hold_at_once_is_about_different_things(one: str, other: str) -> None:
    assert about(one) != about(other)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("home: Oslo", "home: Oslo"),
        ("- home: Oslo", "home: Oslo"),
        ("  * **Home:** `Oslo`", "Home: Oslo"),
        ("12. the user's dog's name:  Bo  Al", "the user's dog's name: Bo Al"),
        ("the 10:30 train: late: by 5", "the 10:30 train: late: by 5"),
        ("lowest temperature: -5", "lowest temperature: -5"),
        ("home:Oslo", None),
        ("Here are the facts:", None),
        ("The user lives in Oslo.", None),
        (": Oslo", None),
        ("home: none", None),
        ("home: Unknown.", None),
        ("none", None),
        ("", None),
        (f"{'x' * (MOST_ABOUT + 1)}: Oslo", None),
        (f"home: {'x' * MOST_TEXT}", None),
    ],
)
def test_a_line_of_another_form_is_no_fact(line: str, text: str | None) -> None:
    facts = in_answer(line)

    assert [fact.text for fact in facts] == ([] if text is None else [text])
    assert [fact.about for fact in facts] == ([] if text is None else [text.split(": ")[0]])


def test_a_sentence_without_end_is_no_fact() -> None:
    assert in_sentences("x" * (MOST_TEXT + 1)) == in_sentences("x" * (MOST_ABOUT + 1)) == []


async def test_a_model_is_told_the_day_and_what_is_known_and_its_answer_is_counted() -> None:
    chat = Copyist(answer="Some facts:\n- the dog's name: Bo\n- home: Oslo")

    found = await extract(chat, [said("My dog is Bo.")], "- A summary.", ["home", "age"])

    assert [fact.text for fact in found.statements] == ["the dog's name: Bo", "home: Oslo"]
    assert len(found.usage) == 1
    ((system, lines),) = chat.asked
    assert lines == "2026-11-26 user: My dog is Bo."
    assert system.startswith(FACTS_INSTRUCTION)
    assert system.endswith("\n- home\n- age")


async def test_where_nothing_is_known_nothing_is_said_of_it() -> None:
    chat = Copyist(answer="none")

    assert (await extract(chat, [said("Hello.")], "", [])).statements == []
    assert [system for system, _ in chat.asked] == [FACTS_INSTRUCTION]


async def test_half_a_fact_is_not_kept() -> None:
    chat = Copyist(answer="home: Oslo\nage: 1", end=FinishReason.length)

    found = await extract(chat, [said("I am 12.")], "", [])
    assert [fact.text for fact in found.statements] == ["home: Oslo"]


async def test_a_demonstration_has_written_its_facts_as_the_summary() -> None:
    chat = Copyist(is_demo=True)

    found = await extract(chat, [said("x")], "- The user lives in Oslo.\n- Bo is red.", ["home"])

    assert [fact.about for fact in found.statements] == ["The user lives in", "Bo is"]
    assert chat.asked == []
    assert list(found.usage) == []
