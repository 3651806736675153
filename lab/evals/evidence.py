"""Whether what answers a question was found: shares of evidence, ranks, and their intervals."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import inf
from statistics import mean

from lab.evals.dialogues import Asked
from lab.evals.statistics import Proportion, proportion

FIRST_RANKS = 10


@dataclass(frozen=True)
class Outcome:
    """
    How one question fared.

    Attributes
    ----------
    kind : str
        Of the question.
    shares : mapping
        Part of the evidence that stands in the window, by the tokens of the window.
    found_in_10 : float
        Part of the evidence among the first ten of the ranking.
    reciprocal_rank : float
        One over the rank of the first evidence, from 1; 0 where none is ranked.
    """

    kind: str
    shares: Mapping[int, float]
    found_in_10: float
    reciprocal_rank: float


@dataclass(frozen=True)
class Scores:
    """
    How questions fared together, each value with its interval.

    Attributes
    ----------
    n : int
        Questions.
    recall : mapping
        Mean part of the evidence in the window, by the tokens of the window.
    all_evidence : mapping
        Share of the questions with all their evidence in the window, by its tokens.
    recall_at_10 : Proportion
        Mean part of the evidence among the first ten.
    reciprocal_rank : Proportion
        Mean reciprocal rank (MRR).
    """

    n: int
    recall: Mapping[int, Proportion]
    all_evidence: Mapping[int, Proportion]
    recall_at_10: Proportion
    reciprocal_rank: Proportion


def judge(
    question: Asked, ranking: Sequence[int], windows: Mapping[int, AbstractSet[int]]
) -> Outcome:
    """
    Return how a question fared.

    Parameters
    ----------
    question : Asked
        With its evidence.
    ranking : sequence of int
        Places of turns, best first.
    windows : mapping
        Places of the turns in the window, by the tokens of the window.

    Examples
    --------
    >>> judge(Asked("Where?", "two turns", frozenset({3, 5})), [4, 3], {512: {3, 4}})
    Outcome(kind='two turns', shares={512: 0.5}, found_in_10=0.5, reciprocal_rank=0.5)
    """
    evidence = question.evidence
    rank_of = {place: rank for rank, place in enumerate(ranking, 1)}
    ranks = [rank_of.get(place, inf) for place in evidence]
    return Outcome(
        question.kind,
        {tokens: len(window & evidence) / len(evidence) for tokens, window in windows.items()},
        mean(rank <= FIRST_RANKS for rank in ranks),
        1 / min(ranks),
    )


def score(outcomes: Sequence[Outcome]) -> Scores:
    """
    Return what the outcomes say together.

    Raises
    ------
    InputError
        If there is none.
    """
    budgets = list(outcomes[0].shares) if outcomes else []
    return Scores(
        len(outcomes),
        {tokens: proportion([o.shares[tokens] for o in outcomes]) for tokens in budgets},
        {tokens: proportion([o.shares[tokens] == 1 for o in outcomes]) for tokens in budgets},
        proportion([o.found_in_10 for o in outcomes]),
        proportion([o.reciprocal_rank for o in outcomes]),
    )


def score_by_kind(outcomes: Sequence[Outcome]) -> dict[str, Scores]:
    """Return the scores of each kind of question, by name."""
    kinds = sorted({outcome.kind for outcome in outcomes})
    return {kind: score([o for o in outcomes if o.kind == kind]) for kind in kinds}
