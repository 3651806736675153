"""How sure a measured proportion is, and whether two arms differ on the same questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

from lab.errors import InputError


@dataclass(frozen=True)
class Proportion:
    """
    A share of successes with its interval.

    Attributes
    ----------
    successes : float
        What was counted; half a success counts half.
    n : int
        Of how many.
    low, high : float
        Ends of the interval.
    """

    successes: float
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.successes / self.n

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class PairedComparison:
    """
    Two arms on the same questions.

    Attributes
    ----------
    both, only_first, only_second, neither : int
        Questions by which arm was right.
    difference, low, high : float
        Share of the first arm minus that of the second, with its interval.
    p_value : float
        Chance of a split at least this uneven if the arms were equal.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    low: float
    high: float
    p_value: float

    def __str__(self) -> str:
        return f"{self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p_value:.2g}"


def proportion(outcomes: Sequence[float], confidence: float = 0.95) -> Proportion:
    """
    Return the share of true outcomes with its Wilson score interval.

    An outcome may also be part of a success. Parts vary less than all or nothing does with the same
    mean, so their interval is, if anything, wider than it had to be.

    Parameters
    ----------
    outcomes : sequence of bool, or of float in [0, 1]
        One for each question, at least one.
    confidence : float
        Of the interval, in (0, 1).

    Raises
    ------
    InputError
        If there is no outcome.

    Examples
    --------
    >>> str(proportion([True] * 9 + [False]))
    '0.900 [0.596, 0.982]'
    """
    return wilson(sum(outcomes), len(outcomes), confidence)


def wilson(successes: float, n: int, confidence: float = 0.95) -> Proportion:
    """
    Return a share with its Wilson score interval.

    Parameters
    ----------
    successes : float
        What was counted.
    n : int
        Of how many; at least one question.
    confidence : float
        Of the interval, in (0, 1).

    Raises
    ------
    InputError
        If there was no question.

    References
    ----------
    Wilson, E. B. (1927). Probable inference, the law of succession, and statistical inference.
    """
    if n == 0:
        raise InputError("A proportion needs at least one outcome, got none; ask more questions.")
    z = _z(confidence)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = min(share, centre - half), max(share, centre + half)  # but for rounding
    return Proportion(successes, n, max(0.0, low), min(1.0, high))


def compare(
    first: Sequence[bool], second: Sequence[bool], confidence: float = 0.95
) -> PairedComparison:
    """
    Compare two arms that answered the same questions.

    The p-value is McNemar's exact test; the interval is Agresti and Min's, which keeps its
    coverage on few questions.

    Parameters
    ----------
    first, second : sequence of bool
        Outcomes in the same order of questions.
    confidence : float
        Of the interval, in (0, 1).

    Raises
    ------
    InputError
        If the arms have different lengths or none.

    References
    ----------
    Agresti, A. and Min, Y. (2005). Simple improved confidence intervals for comparing matched
    proportions, section 3.
    """
    if len(first) != len(second) or not first:
        raise InputError(
            f"The arms have {len(first)} and {len(second)} outcomes; both must answer the same "
            "questions, at least one."
        )
    pairs = list(zip(first, second, strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    low, high = _paired_interval(only_first, only_second, len(pairs), _z(confidence))
    return PairedComparison(
        both=sum(a and b for a, b in pairs),
        only_first=only_first,
        only_second=only_second,
        neither=sum(not a and not b for a, b in pairs),
        difference=(only_first - only_second) / len(pairs),
        low=low,
        high=high,
        p_value=_mcnemar(only_first, only_second),
    )


def _paired_interval(b: int, c: int, n: int, z: float) -> tuple[float, float]:
    b_adjusted, c_adjusted, n_adjusted = b + 0.5, c + 0.5, n + 2
    centre = (b_adjusted - c_adjusted) / n_adjusted
    spread = b_adjusted + c_adjusted - (b_adjusted - c_adjusted) ** 2 / n_adjusted
    half = z * sqrt(spread) / n_adjusted
    return max(-1.0, centre - half), min(1.0, centre + half)


def _mcnemar(b: int, c: int) -> float:
    n = b + c
    tail = sum(comb(n, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * tail / 2**n)


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)
