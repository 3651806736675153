import random

import pytest
from scipy.stats import binomtest

from lab.errors import InputError
from lab.evals.statistics import compare, proportion


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 20), (17, 20), (20, 20), (5, 400)]
)
def test_the_interval_is_that_of_scipy(successes: int, n: int) -> None:
    theirs = binomtest(successes, n).proportion_ci(method="wilson")

    ours = proportion([True] * successes + [False] * (n - successes))

    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert ours.low <= ours.value <= ours.high


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = random.Random(0)
    intervals = [proportion([rng.random() < 0.85 for _ in range(40)]) for _ in range(2000)]

    covered = sum(i.low <= 0.85 <= i.high for i in intervals) / len(intervals)

    assert 0.93 < covered < 0.97


def test_the_interval_of_parts_covers_their_mean_at_least_as_often() -> None:
    rng = random.Random(0)
    intervals = [proportion([rng.choice((0, 0.5, 1, 1)) for _ in range(40)]) for _ in range(2000)]

    covered = sum(i.low <= 0.625 <= i.high for i in intervals) / len(intervals)

    assert covered > 0.95


def test_the_p_value_is_that_of_an_exact_test_on_the_disagreements() -> None:
    first = [True] * 14 + [False] * 6
    second = [True] * 3 + [False] * 11 + [True] * 2 + [False] * 4

    result = compare(first, second)

    assert (result.both, result.only_first, result.only_second, result.neither) == (3, 11, 2, 4)
    assert result.p_value == pytest.approx(binomtest(11, 13).pvalue)
    assert result.difference == pytest.approx(0.45)
    assert result.low < 0.45 < result.high


def test_equal_arms_do_not_differ() -> None:
    result = compare([True, False] * 10, [True, False] * 10)

    assert result.p_value == 1.0
    assert result.low < 0 < result.high


def test_an_interval_on_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="at least one outcome"):
        proportion([])


def test_arms_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="3 and 2 outcomes"):
        compare([True] * 3, [True] * 2)
