from datetime import UTC, datetime
from uuid import UUID

import pytest

from lab.errors import InputError
from lab.evals.long_memory import Measurement, Question, Talk, Trial, holds, write_talk
from lab.evals.statistics import proportion
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle


def trial(distance: float, answer: str, without: str = "I don't know.") -> Trial:
    question = Question("What is my dog called?", "Zamiko", "My dog is called Zamiko.", 0)
    return Trial(question, distance, answer, without, seen=True)


def test_the_same_seed_writes_the_same_talk() -> None:
    one, again, other = (write_talk(n_facts=5, n_turns=50, seed=seed) for seed in (3, 3, 4))

    assert one == again
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != other.fingerprint


def test_facts_are_spread_evenly_and_stated_where_they_say() -> None:
    talk = write_talk(n_facts=10, n_turns=100, seed=0)

    assert [question.turn for question in talk.questions] == list(range(0, 100, 10))
    for question in talk.questions:
        assert talk.turns[question.turn][0] == question.stated
        assert holds(question.stated, question.value)


def test_questions_do_not_tell_their_answer() -> None:
    talk = write_talk(n_facts=40, n_turns=40, seed=5)

    assert not [q for q in talk.questions if holds(q.text, q.value)]


def test_more_facts_than_turns_are_refused() -> None:
    with pytest.raises(InputError, match="9 facts do not fit into 8 turns"):
        write_talk(n_facts=9, n_turns=8, seed=0)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Your dog is called Zamiko.", True),
        ("zamiko", True),
        ("Zamikos", False),
        ("I don't know, you have not told me.", False),
        ("", False),
    ],
)
def test_an_answer_is_right_when_it_holds_the_value_as_a_word(answer: str, right: bool) -> None:
    assert holds(answer, "Zamiko") is right


def test_only_questions_beyond_the_window_count() -> None:
    talk = Talk((("a", "b"),), (trial(0, "").question,))
    trials = (trial(0.5, "Zamiko", "Zamiko"), trial(3, "Zamiko"), trial(5, "Rex"))

    measured = Measurement("m", 100, talk, 10.0, trials, write_s=1, ask_s=1)

    assert (measured.with_memory.successes, measured.with_memory.n) == (1, 2)
    assert (measured.without_memory.successes, measured.without_memory.n) == (0, 2)
    assert measured.metrics()["accuracy_with_memory"] == 0.5


def test_a_summary_keeps_the_facts_that_stand_in_it_and_were_said_where_it_covers() -> None:
    first = Question("What is my dog called?", "Zamiko", "My dog is called Zamiko.", 0)
    other = Question("What is my cat called?", "Orvelo", "My cat is called Orvelo.", 4)
    talk = Talk((("a", "b"),) * 8, (first, other))

    def measured(*summaries: Summary) -> Measurement:
        trials = (trial(3, "Zamiko"),)
        return Measurement("m", 9, talk, 1.0, trials, write_s=1, ask_s=1, summaries=summaries)

    one = summary(1, 0, 7, "- The user's dog is called Zamiko.")
    two = summary(1, 8, 15, "- The user has a cat.")
    assert str(measured(one, two).kept(1)) == str(proportion([True, False]))
    assert measured(one, two).metrics()["kept_at_level_1"] == 0.5
    assert measured(one).kept(4) is None
    assert "kept_at_level_4" not in measured(one).metrics()


def summary(level: int, first: int, last: int, text: str) -> Summary:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    return Summary(
        **dict.fromkeys(("id", "owner_id", "conversation_id"), UUID(int=1)),
        level=level,
        first_position=first,
        last_position=last,
        style=SummaryStyle.key_points,
        model="m",
        text=text,
        n_tokens=1,
        sources=[],
        said_at=now,
        created_at=now,
    )
