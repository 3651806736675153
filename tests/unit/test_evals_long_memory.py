from datetime import UTC, datetime
from uuid import UUID

import pytest

from lab.evals.long_memory import WHOLE, WITHOUT, Measurement, Reply, Trial, declines, is_right
from lab.evals.metrics import check_metrics
from lab.evals.statistics import proportion
from lab.evals.talks import Question, Talk
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle

STATED = Question("What is my dog called?", "Zamiko", "My dog is called Zamiko.", 0)
UPDATED = Question("Where do I live?", "Oslo", "I moved to Oslo.", 3, "updated", "Rome")
UNKNOWN = Question("How old is Ann?", kind="unknown")
LOST = "I don't know, you have not told me."


def trial(
    question: Question,
    distance: float | None,
    answer: str,
    without: str = LOST,
    seen: bool = True,
) -> Trial:
    return Trial(question, {WHOLE: Reply(answer, seen), WITHOUT: Reply(without)}, distance)


def measured(*trials: Trial) -> Measurement:
    talk = Talk((("a", "b"),), tuple(t.question for t in trials))
    return Measurement("m", 100, talk, 10.0, trials, write_s=1, ask_s=1)


@pytest.mark.parametrize(
    ("question", "answer", "right"),
    [
        (STATED, "Your dog is called Zamiko.", True),
        (STATED, LOST, False),
        (UPDATED, "You live in Oslo.", True),
        (UPDATED, "You live in Rome.", False),
        (UPDATED, "You live in Rome or Oslo.", False),
        (UNKNOWN, LOST, True),
        (UNKNOWN, "Ann is 34 years old.", False),
    ],
)
def test_an_answer_is_right_by_the_kind_of_its_question(
    question: Question, answer: str, right: bool
) -> None:
    assert is_right(answer, question) is right


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know, you have not told me.",
        "I don’t actually know that.",
        "You haven't mentioned how old she is.",
        "I do not have that information.",
        "There is no information about Ann's age.",
        "I'm not sure.",
        "That was never mentioned.",
        "Sorry, I can't recall that.",
    ],
)
def test_there_are_many_ways_not_to_know(answer: str) -> None:
    assert declines(answer)


@pytest.mark.parametrize(
    "answer", ["Ann is 34.", "She knows Tom.", "Your town is called Noway.", ""]
)
def test_an_answer_that_tells_something_does_not_decline(answer: str) -> None:
    assert not declines(answer)


def test_only_facts_beyond_the_window_count() -> None:
    found = measured(
        trial(STATED, 0.5, "Zamiko", "Zamiko"), trial(STATED, 3, "Zamiko"), trial(STATED, 5, "Rex")
    )

    with_memory, without = found.accuracy(WHOLE), found.accuracy(WITHOUT)
    assert (with_memory.successes, with_memory.n) == (1, 2)
    assert (without.successes, without.n) == (0, 2)


def test_each_kind_has_its_own_share_and_what_is_unknown_is_no_fact() -> None:
    found = measured(
        trial(STATED, 3, "Zamiko"),
        trial(UPDATED, 2, "Rome"),
        trial(UPDATED, 0.2, "Oslo"),
        trial(UNKNOWN, None, "34"),
    )

    shares = found.accuracy_by_kind
    assert {kind: (s.successes, s.n) for kind, s in shares[WHOLE].items()} == {
        "stated": (1, 1),
        "updated": (0, 1),
        "unknown": (0, 1),
    }
    assert shares[WITHOUT]["unknown"].value == 1
    assert found.accuracy(WHOLE).n == 2


def test_the_worth_of_a_part_is_what_is_lost_without_it() -> None:
    found = measured(trial(STATED, 3, "Zamiko"), trial(UPDATED, 2, "Oslo"))

    (worth,) = found.contributions.values()
    assert (worth.only_first, worth.only_second, worth.difference) == (2, 0, 1.0)


def test_a_miss_says_what_went_wrong() -> None:
    verdicts = [
        trial(STATED, 3, "Zamiko").verdict(),
        trial(STATED, 3, LOST, seen=False).verdict(),
        trial(STATED, 3, "Rex").verdict(),
        trial(UPDATED, 3, "Rome").verdict(),
        trial(UNKNOWN, None, "34").verdict(),
    ]

    assert verdicts == ["right", "not found", "misread", "former value", "made up"]


def test_metrics_have_intervals_by_kind_and_can_be_stored() -> None:
    metrics = measured(trial(STATED, 3, "Zamiko"), trial(UNKNOWN, None, LOST)).metrics()

    assert check_metrics(metrics) == metrics
    assert metrics["accuracy_with_memory"] == metrics["stated_with_memory"] == 1
    assert metrics["stated_without_memory"] == 0
    assert metrics["unknown_with_memory_low"] == pytest.approx(0.2065, abs=1e-4)
    assert (metrics["n_stated"], metrics["n_unknown"], metrics["n_questions"]) == (1, 1, 1)
    assert metrics["lost_without_memory"] == 1


def test_a_summary_keeps_the_facts_that_stand_in_it_and_were_said_where_it_covers() -> None:
    other = Question("What is my cat called?", "Orvelo", "My cat is called Orvelo.", 4)
    talk = Talk((("a", "b"),) * 8, (STATED, other, UNKNOWN))

    def summed_up(*summaries: Summary) -> Measurement:
        return Measurement("m", 9, talk, 1.0, (), write_s=1, ask_s=1, summaries=summaries)

    one = summary(1, 0, 7, "- The user's dog is called Zamiko.")
    two = summary(1, 8, 15, "- The user has a cat.")
    assert str(summed_up(one, two).kept(1)) == str(proportion([True, False]))
    assert summed_up(one).kept(4) is None


def test_what_summaries_keep_is_stored_for_each_level_that_there_is() -> None:
    told = (summary(1, 0, 7, "- The user's dog is called Zamiko."),)
    talk = Talk((("a", "b"),) * 8, (STATED,))
    trials = (trial(STATED, 3, "Zamiko"),)
    metrics = Measurement(
        "m", 9, talk, 1.0, trials, write_s=1, ask_s=1, summaries=told, summarise_s=4
    ).metrics()

    assert check_metrics(metrics) == metrics
    assert (metrics["kept_at_level_1"], metrics["ms_per_summarised_turn"]) == (1, 500)
    assert "kept_at_level_4" not in metrics


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
