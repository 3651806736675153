"""Ranking: what makes a turn more relevant than another."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.context import relevance, shared_words, words_of
from lab.db.ids import new_id
from lab.protocols import FloatArray, Signals


def signals(n: int, **known: Any) -> Signals:
    """Return the signals of one chat on one day, all alike but for what is given."""
    values: dict[str, Any] = {
        "ids": [new_id() for _ in range(n)],
        "chat": [0] * n,
        "position": range(n),
        "day": [0] * n,
        "words": [0.0] * n,
        "similarity": [0.1] * n,
        "context_similarity": [0.1] * n,
        "spoken": [False] * n,
    } | known
    floats = dict.fromkeys(("words", "similarity", "context_similarity"), np.float32)
    arrays = {name: np.array(values[name], dtype=floats.get(name)) for name in values}
    return Signals(**arrays | {"ids": values["ids"]})


def best(known: Signals) -> int:
    return int(relevance(known).argmax())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("words", [0.0, 3.0, 0.0, 0.0]),
        ("similarity", [0.1, 0.3, 0.1, 0.1]),
        ("context_similarity", [0.1, 0.1, 0.3, 0.1]),  # the turn before stands in the middle
        ("spoken", [False, True, False, False]),
    ],
)
def test_each_signal_alone_decides(name: str, values: list[float]) -> None:
    assert best(signals(4, **{name: values})) == 1


def test_the_last_turn_and_one_in_no_view_are_compared_by_what_there_is() -> None:
    none = np.nan
    score = relevance(
        signals(
            4,
            position=[0, 10, 20, 30],
            similarity=[0.2, 0.1, 0.1, 0.4],
            context_similarity=[0.1, 0.4, 0.1, none],
        )
    )
    alike = relevance(signals(3, position=[0, 10, 20], context_similarity=[0.1, 0.4, none]))

    assert score[3] > score[1] > score[0] > score[2]
    assert alike[1] > alike[2] == alike[0]


def test_a_view_that_is_not_there_takes_nothing_from_the_turn_before() -> None:
    there, gone = (
        relevance(signals(3, context_similarity=[0.1, 0.3, last])) for last in (0.0, np.nan)
    )

    assert gone[1] > there[1]


def test_a_turn_that_cannot_be_compared_is_ranked_by_the_rest() -> None:
    unknown = [np.nan, 0.3, np.nan, np.nan]

    score = relevance(
        signals(4, words=[3, 0, 0, 0], similarity=unknown, context_similarity=unknown)
    )

    assert np.isfinite(score).all()
    assert score[0] > score[3]


def test_a_turn_between_two_hits_is_more_relevant_than_one_far_from_them() -> None:
    score = relevance(signals(8, words=[3, 0, 3, 0, 0, 0, 0, 0]))

    assert score[1] > score[3] > score[4] > score[5]


def test_a_gap_in_the_positions_parts_neighbours() -> None:
    near, apart = (
        relevance(signals(2, words=[3, 0], position=positions)) for positions in ([0, 1], [0, 3])
    )

    assert near[1] > apart[1]


@pytest.mark.parametrize("of", ["chat", "day"])
def test_another_chat_or_day_is_no_neighbourhood(of: str) -> None:
    score = relevance(signals(4, words=[0, 3, 0, 0], **{of: [0, 0, 1, 1]}))

    assert score[0] > score[2] == score[3]


def test_of_two_equal_turns_the_one_of_the_better_sitting_wins() -> None:
    score = relevance(
        signals(6, day=[0] * 3 + [1] * 3, position=range(0, 60, 10), words=[5, 1, 0, 0, 1, 0])
    )

    assert score[1] > score[4]


def test_nothing_found_gives_nothing() -> None:
    assert relevance(signals(0)).shape == (0,)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.integers(0, 2),
            st.floats(0, 50),
            st.floats(-1, 1),
            st.floats(-1, 1),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_relevance_is_between_0_and_1(turns: list[tuple[Any, ...]]) -> None:
    turns.sort(key=lambda turn: turn[:2])
    chat, day, words, similarity, context, spoken = zip(*turns, strict=True) if turns else [()] * 6
    known = signals(
        len(turns),
        chat=np.array(chat, dtype=np.int64),
        day=np.array(day, dtype=np.int64),
        words=np.array(words, dtype=np.float32),
        similarity=np.array(similarity, dtype=np.float32),
        context_similarity=np.array(context, dtype=np.float32),
        spoken=np.array(spoken, dtype=np.bool_),
    )

    score: FloatArray = relevance(known)

    assert score.shape == (len(turns),)
    assert ((score >= 0) & (score <= 1 + 1e-6)).all()


def test_rare_words_count_more_than_common_ones() -> None:
    turns = [words_of(text) for text in ("the canary", "the the boat", "the house", "nothing")]

    score = shared_words(words_of("The canary?"), turns)

    assert score[0] > score[1] > 0
    assert score[3] == 0
