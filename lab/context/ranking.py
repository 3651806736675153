"""
Rank turns by all that speaks for them.

No signal finds enough alone: words miss what is said otherwise, meaning misses names and numbers,
and a turn that answers a question often repeats none of it. So a turn gets a part of what its
neighbours share with the question, and of the best turn of its sitting (one chat on one day).
Signals are scaled by their best turn and added; the weights are round numbers on purpose.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lab.protocols import FloatArray, Signals

NEIGHBOURS: Final = (0.5, 0.3)
"""Part of its words' score that a turn lends to those one and two places away."""
VIEWS: Final = (1, 2)
"""Weights of the views that end with a turn and with the next one, in whose middle it stands."""
ALONE: Final = (0.5,)
"""As NEIGHBOURS, for the similarity of a turn that stands in no view."""
POSITION_BITS: Final = 32
WORDS, SIMILARITY, CONTEXT, SPOKEN, SITTING = 1.0, 0.7, 0.7, 0.6, 0.5


def relevance(signals: Signals) -> FloatArray:
    """
    Return the relevance of each turn, in [0, 1].

    Parameters
    ----------
    signals : Signals
        Of N turns, chat by chat, in the order in which they were said.

    Returns
    -------
    array of shape (N,)
    """
    if not len(signals.words):
        return np.zeros(0, dtype=np.float32)
    words = _with_neighbours(signals, signals.words, NEIGHBOURS)
    similarity = np.nan_to_num(signals.similarity, nan=0.0)
    around = _around(signals, similarity)
    score = (
        WORDS * _scaled(words)
        + SIMILARITY * _scaled(similarity)
        + CONTEXT * _scaled(around)
        + SPOKEN * signals.spoken
    )
    score = score + SITTING * _scaled(_best_of_sitting(signals, score))
    return np.asarray(score / (WORDS + SIMILARITY + CONTEXT + SPOKEN + SITTING), dtype=np.float32)


def alone(signals: Signals) -> Signals:
    """Return what speaks for each turn by itself, as if nothing had been said around it."""
    return replace(
        signals,
        chat=np.arange(len(signals.chat), dtype=np.int64),
        context_similarity=signals.similarity,
    )


def joined(several: Sequence[Signals]) -> Signals:
    """Return the turns of several searches as those of one, whose chats stay apart."""
    first_chats = np.cumsum([0, *(one.chat.max(initial=-1) + 1 for one in several)])
    return Signals(
        ids=[id for one in several for id in one.ids],
        chat=np.concatenate(
            [one.chat + first for one, first in zip(several, first_chats, strict=False)]
        ),
        position=np.concatenate([one.position for one in several]),
        day=np.concatenate([one.day for one in several]),
        words=np.concatenate([one.words for one in several]),
        similarity=np.concatenate([one.similarity for one in several]),
        context_similarity=np.concatenate([one.context_similarity for one in several]),
        spoken=np.concatenate([one.spoken for one in several]),
    )


class Found(NamedTuple):
    """A turn that bears on a question."""

    place: int
    """Its index among the signals."""

    score: float
    """Its relevance, in [0, 1]."""

    similarity: float | None
    """Its cosine similarity, where that is known."""


def best(signals: Signals, *, top_k: int, min_similarity: float) -> list[Found]:
    """
    Return the most relevant turns, best first.

    Parameters
    ----------
    signals : Signals
        Of N turns.
    top_k : int
        Most turns to return.
    min_similarity : float
        Least cosine similarity of a turn that shares no word with the question, alone or together
        with those before it: a bare reply means what it replies to.
    """
    score, similarity = relevance(signals), signals.similarity
    order = np.argsort(-score, kind="stable")
    nearness = np.fmax(similarity, signals.context_similarity)
    meant = (signals.words > 0) | (nearness >= min_similarity)
    return [
        Found(int(i), float(score[i]), None if np.isnan(similarity[i]) else float(similarity[i]))
        for i in order[meant[order]][:top_k]
    ]


def _around(signals: Signals, similarity: FloatArray) -> FloatArray:
    """Return how near the views are in which each turn stands, or else it and its neighbours."""
    known = ~np.isnan(signals.context_similarity)
    near = np.where(known, signals.context_similarity, 0)
    last, middle = VIEWS
    weight = np.float32(last) * known
    total = last * near
    earlier, later = _apart(signals, 1)
    weight[earlier] += middle * known[later]
    total[earlier] += middle * near[later]
    unseen = weight == 0
    beside = _with_neighbours(signals, similarity, ALONE)
    beside /= _with_neighbours(signals, np.ones_like(similarity), ALONE)
    return np.where(unseen, beside, total / np.where(unseen, 1, weight))


def _with_neighbours(signals: Signals, values: FloatArray, parts: Sequence[float]) -> FloatArray:
    """Return the values of turns with a part of those one, two … places away."""
    together = values.copy()
    for distance, part in enumerate(parts, 1):
        earlier, later = _apart(signals, distance)
        together[later] += part * values[earlier]
        together[earlier] += part * values[later]
    return together


def _apart(signals: Signals, distance: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of turns of one sitting that are so many positions apart."""
    place = (signals.chat << POSITION_BITS) + signals.position  # rises
    later = np.searchsorted(place, place + distance)
    earlier = np.flatnonzero(later < len(place))
    later = later[earlier]
    pairs = (place[later] == place[earlier] + distance) & (
        signals.day[later] == signals.day[earlier]
    )
    return earlier[pairs], later[pairs]


def _best_of_sitting(signals: Signals, score: FloatArray) -> FloatArray:
    """Return for each turn the best score of its chat on its day."""
    sittings = np.stack((signals.chat, signals.day), axis=1)
    _, sitting = np.unique(sittings, axis=0, return_inverse=True)
    best = np.zeros(sitting.max() + 1, dtype=score.dtype)
    np.maximum.at(best, sitting, score)
    return best[sitting]


def _scaled(values: FloatArray) -> FloatArray:
    """Return the values as parts of the highest, none below 0."""
    positive = np.maximum(values, 0)
    highest = positive.max()
    return positive / highest if highest > 0 else positive
