"""
Read facts from what a model wrote: what each is about, and what holds.

A model that follows instructions writes `about: value`. The bundled model writes sentences, whose
beginning up to the value says what they are about.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lab.db.facts import Statement

MOST_ABOUT: Final = 200
MOST_TEXT: Final = 1000
"""Characters; whatever is longer is no fact."""

_POINT: Final = re.compile(r"\s*(?:[-*•·]\s+|\d+[.)]\s+)*")
"""What makes a line a point of a list."""
_EMPHASIS: Final = "*_` "
_NOTHING: Final = {"", "none", "unknown", "n/a", "not mentioned", "not specified"}

_AGE: Final = re.compile(r"(?P<who>.+?) (?:is|are) \d+ years old", re.IGNORECASE)
_PLACE: Final = re.compile(
    r"(?P<who>.+?) (?:is|are) (?:above|at|behind|below|beside|between|in|inside|near|next to|on"
    r"|under) (?:a|an|her|his|my|our|the|their|your) (?!\d)",
    re.IGNORECASE,
)
_UP_TO_VALUE: Final = re.compile(
    r".+? (?:(?:is|are|was|were) (?:allergic to|at|born in|born on|called|from|in|learning"
    r"|married to|named|on)|begins at|begins on|comes from|ends at|ends on|is|are|lives in"
    r"|starts at|starts on|studies at|takes place in|takes place on|was|were|works as|works at"
    r"|works for)(?= )",
    re.IGNORECASE,
)
"""Of two verbs that begin alike, the longer one comes first."""


def in_answer(text: str) -> list[Statement]:
    r"""
    Return the facts in lines of `about: value`; lines of another form are left out.

    >>> [fact.text for fact in in_answer("Facts are:\n- **train**: at 10:30\n2. home: Oslo\nnone")]
    ['train: at 10:30', 'home: Oslo']
    """
    return list(_short(_stated(line) for line in text.splitlines()))


def in_sentences(text: str) -> list[Statement]:
    r"""
    Return the facts in sentences, one a line.

    >>> [fact.about for fact in in_sentences("- Bo is 3 years old.\n- Bo lives in Rome.\n- Hm.")]
    ["Bo's age is", 'Bo lives in', 'Hm.']
    """
    lines = (_bare(line) for line in text.splitlines())
    return list(_short(Statement(_beginning(line), line) for line in lines if line))


def _stated(line: str) -> Statement | None:
    about, colon, value = re.sub(r"[*_`]*:[*_`]*(?=\s)", ":", _bare(line)).partition(": ")
    about, value = about.strip(_EMPHASIS), value.strip(_EMPHASIS)
    if not colon or not about or value.rstrip(".").casefold() in _NOTHING:
        return None
    return Statement(about, f"{about}: {value}")


def _beginning(sentence: str) -> str:
    """Return a sentence up to its value, so that another value leaves it the same."""
    if age := _AGE.match(sentence):
        return f"{age['who']}'s age is"
    if place := _PLACE.match(sentence):
        return f"{place['who']}'s place is"
    found = _UP_TO_VALUE.match(sentence)
    return found[0] if found else sentence


def _bare(line: str) -> str:
    """Return a line without what makes it a point of a list, its words one space apart."""
    return " ".join(_POINT.sub("", line, count=1).split())


def _short(statements: Iterable[Statement | None]) -> Iterator[Statement]:
    for one in statements:
        if one and len(one.about) <= MOST_ABOUT and len(one.text) <= MOST_TEXT:
            yield one
