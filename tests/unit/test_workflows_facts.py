"""How facts are asked for and read."""

from itertools import count

import pytest

from lab.db.facts import key_of
from lab.prompts import FACTS_INSTRUCTION
from lab.training.facts import draw_slots, give_value
from lab.training.values import World
from lab.workflows.statements import in_answer, in_sentences


def about(sentence: str) -> str:
    (fact,) = in_sentences(f"- {sentence}")
    assert fact.text == sentence
    return key_of(fact.about)


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
