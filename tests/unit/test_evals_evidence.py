import pytest

from lab.errors import InputError
from lab.evals.dialogues import Asked
from lab.evals.evidence import Outcome, judge, score, score_by_kind

TWO = Asked("Where and when?", "two turns", frozenset({3, 20}))


def test_a_question_gets_the_part_of_its_evidence_in_each_window() -> None:
    outcome = judge(TWO, [7, 3, *range(30, 40), 20], {512: {7}, 1024: {7, 3}, 2048: {3, 20, 7}})

    assert outcome.shares == {512: 0, 1024: 0.5, 2048: 1}
    assert outcome.found_in_10 == 0.5
    assert outcome.reciprocal_rank == 0.5


def test_evidence_that_nobody_ranked_counts_nothing() -> None:
    outcome = judge(TWO, [1, 2], {512: set()})

    assert (outcome.shares[512], outcome.found_in_10, outcome.reciprocal_rank) == (0, 0, 0)


def test_the_tenth_is_among_the_first_ten_and_the_eleventh_is_not() -> None:
    one = Asked("Where?", "one turn", frozenset({0}))

    shares = [judge(one, [*range(1, rank), 0], {}).found_in_10 for rank in (10, 11)]
    assert shares == [1, 0]


def test_scores_are_means_and_all_evidence_counts_whole_questions() -> None:
    outcomes = [
        Outcome("two turns", {512: 0.5, 1024: 1}, 0.5, 1),
        Outcome("one turn", {512: 1, 1024: 1}, 1, 0.25),
    ]

    scores = score(outcomes)

    assert {tokens: share.value for tokens, share in scores.recall.items()} == {512: 0.75, 1024: 1}
    assert scores.all_evidence[512].value == 0.5
    assert (scores.recall_at_10.value, scores.reciprocal_rank.value) == (0.75, 0.625)
    assert scores.recall[512].low < 0.75 < scores.recall[512].high
    assert {kind: s.n for kind, s in score_by_kind(outcomes).items()} == {
        "one turn": 1,
        "two turns": 1,
    }


def test_no_question_has_no_score() -> None:
    with pytest.raises(InputError, match="at least one outcome"):
        score([])
