"""
Sentences of different pages that say different things about the same.

Two sentences contradict each other when they are alike in meaning and in their words, speak of the
same, and differ in what has to be exact: a number, a date, a name, or whether it is so at all. That
one says less than the other is no contradiction.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Final, Literal

import numpy as np

from lab.protocols import FloatArray
from lab.workflows.research.wording import (
    ARTICLES,
    UNITS,
    VERBS,
    Word,
    dates_in,
    is_english,
    is_negated,
    names_in,
    numbers_in,
    stems_of,
    words_in,
)

Kind = Literal["numbers", "dates", "names", "negation"]

SHARED: Final = 0.66
"""Part of the words of the shorter sentence that both must have."""
SHARED_WHOLE: Final = 0.8
"""The same of both together, where they share a single word."""
YEARS: Final = range(1000, 2200)


@dataclass(frozen=True)
class Difference:
    """
    What two sentences say differently.

    Attributes
    ----------
    kind : str
        In what they differ.
    first, second : sequence of str
        What only the one and what only the other says; of a negation, nothing.
    """

    kind: Kind
    first: Sequence[str]
    second: Sequence[str]


@dataclass(frozen=True)
class Contradiction:
    """Two sentences, by their places, and in what they differ."""

    first: int
    second: int
    differences: Sequence[Difference]


def find_contradictions(
    texts: Sequence[str],
    pages: Sequence[str],
    vectors: FloatArray,
    min_similarity: float,
    most: int,
) -> list[Contradiction]:
    """
    Return the pairs of sentences that contradict each other, in the order of the sentences.

    It computes for seconds where there are hundreds of sentences: called in a thread.

    Parameters
    ----------
    texts : sequence of str
        N sentences.
    pages : sequence of str
        The page of each; those of one page are not compared.
    vectors : array of shape (N, D)
        Unit vectors of the sentences.
    min_similarity : float
        Least cosine of two sentences that may contradict each other.
    most : int
        Pairs of which it returns no more, each in other words.
    """
    if len(texts) < 2:
        return []
    similarity = np.round(vectors @ vectors.T, 4)
    found: dict[frozenset[str], Contradiction] = {}
    for first, second in combinations(range(len(texts)), 2):
        if len(found) == most:
            break
        if pages[first] == pages[second] or similarity[first, second] < min_similarity:
            continue
        pair = frozenset((texts[first], texts[second]))
        if pair not in found and (differences := differences_of(texts[first], texts[second])):
            found[pair] = Contradiction(first, second, differences)
    return list(found.values())


def differences_of(first: str, second: str) -> list[Difference]:
    """
    Return in what two sentences about the same differ; nothing where they speak of other things.

    >>> differences_of("The tower was lit in 1887.", "The tower was first lit in 1897.")
    [Difference(kind='dates', first=['1887'], second=['1897'])]
    >>> differences_of("The bridge is open.", "The bridge is not open.")
    [Difference(kind='negation', first=[], second=[])]
    >>> differences_of("The tower was lit in 1887.", "The tower was lit in 1887 by Ann Berg.")
    []
    """
    if not _speak_of_the_same(first, second):
        return []
    found = [difference for difference in _exact(first, second) if difference is not None]
    if not (is_english(first) and is_english(second)):
        return [difference for difference in found if difference.kind != "names"]
    if (
        not found
        and is_negated(first) != is_negated(second)
        and _asserted(first) == _asserted(second)
    ):
        return [Difference("negation", [], [])]
    return found


def _asserted(text: str) -> list[str]:
    """Return what a sentence says, or says no to: its words in order, without verbs that help."""
    return [
        word.number or word.stem
        for word in words_in(text)
        if not word.is_negation and word.form not in VERBS and word.form not in ARTICLES
    ]


def _exact(first: str, second: str) -> Iterator[Difference | None]:
    """Yield what differs in numbers, dates and names."""
    units = _numbers_by_unit(first), _numbers_by_unit(second)
    years = _years_in(first), _years_in(second)
    days = dates_in(first), dates_in(second)
    numbers = [_apart("numbers", units[0][unit], units[1][unit]) for unit in _shared(*units)]
    # What was so many in one year may be more in another.
    if not (any(numbers) and _apart("dates", *years)):
        yield from numbers
        yield _apart("dates", years[0] | days[0], years[1] | days[1])
    said = (_after_verb(words_in(text)) for text in (first, second))
    names = [{w.form.removesuffix("'s"): w.raw for w in words if w.is_name} for words in said]
    alone = names[0].keys() - names_in(second), names[1].keys() - names_in(first)
    if all(alone):
        shown = (
            [all_[name] for name in all_ if name in only]
            for all_, only in zip(names, alone, strict=True)
        )
        yield Difference("names", *shown)


def _shared(first: Mapping[str, object], second: Mapping[str, object]) -> list[str]:
    return sorted(first.keys() & second.keys())


def _years_in(text: str) -> frozenset[str]:
    return frozenset(filter(_is_year, numbers_in(text)))


def _numbers_by_unit(text: str) -> dict[str, frozenset[str]]:
    """Return the numbers of a text that are no years, by the unit that follows them, or none."""
    words = words_in(text)
    found: dict[str, frozenset[str]] = {}
    for word, after in zip_longest(words, words[1:]):
        if word.number is not None and not _is_year(word.number):
            unit = UNITS.get(after.form, "") if after else ""
            found[unit] = found.get(unit, frozenset()) | {word.number}
    return found


def _apart(kind: Kind, first: frozenset[str], second: frozenset[str]) -> Difference | None:
    """Return a difference where each has something that the other has not."""
    if not (first - second and second - first):
        return None
    return Difference(kind, sorted(first - second), sorted(second - first))


def _speak_of_the_same(first: str, second: str) -> bool:
    subjects = [_names_before_verb(words_in(text)) for text in (first, second)]
    if subjects[0] and subjects[1] and not subjects[0] & subjects[1]:
        return False
    stems = [
        stems_of(w for w in words_in(text) if not _is_inner_name(w)) for text in (first, second)
    ]
    shared, fewest = len(stems[0] & stems[1]), min(map(len, stems))
    if shared >= 2:
        return shared >= SHARED * fewest
    return shared == 1 and 2 * shared >= SHARED_WHOLE * (len(stems[0]) + len(stems[1]))


def _is_inner_name(word: Word) -> bool:
    return word.is_name and word.place > 0


def _names_before_verb(words: Sequence[Word]) -> frozenset[str]:
    """Return the names in what a sentence is about: before its first verb."""
    before = words[: len(words) - len(_after_verb(words))]
    return frozenset(w.form.removesuffix("'s") for w in before if w.is_name and w.place > 0) | (
        frozenset(w.form.removesuffix("'s") for w in before[:1] if w.is_name)
    )


def _after_verb(words: Sequence[Word]) -> Sequence[Word]:
    """Return what a sentence says of what it is about: from its first verb on."""
    for place, word in enumerate(words):
        if place and (word.form in VERBS or (word.form.endswith("ed") and not word.is_name)):
            return words[place:]
    return words[:0]


def _is_year(number: str) -> bool:
    return number.isdigit() and int(number) in YEARS
