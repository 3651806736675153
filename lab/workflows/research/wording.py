"""What of a sentence has to be exact: its numbers, names and negations. It reads English."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")

_WORDS: Final = {
    **dict(
        zip(
            ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
            range(2, 11),
            strict=True,
        )
    ),
    "eleven": 11,
    "twelve": 12,
    "twenty": 20,
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
}
"""Without `one`, which is a pronoun too."""
DATES: Final = frozenset(
    re.findall(
        r"\w+",
        "january february march april may june july august september october november"
        " december monday tuesday wednesday thursday friday saturday sunday",
    )
)
_NEGATIONS: Final = frozenset(
    re.findall(
        r"\w+",
        "not no never none neither nor nobody nothing nowhere without cannot",
    )
)
_NEGATED: Final = ("n't", "n’t")
FUNCTION_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        "a about above after again against all also an and any are as at be because been"
        " before being below between both but by can could did do does doing down during"
        " each even every few for from further had has have having he her here hers him"
        " his how however i if in into is it its itself just like made may me might more"
        " most must my of off on once one only or other our out over own same she should"
        " since so some still such than that the their theirs them then there these they"
        " this those through to today too under until up upon us very was we were what"
        " when where which while who whom whose why will with within would yet you your",
    )
)
"""Words that say how others belong together."""
VERBS: Final = frozenset(
    re.findall(
        r"\w+",
        "is are was were be been has have had do does did can could will would may might"
        " must shall should became becomes become remains remained stands stood lies lay"
        " has",
    )
)
"""Where what is said of something begins; so do words that end in `ed`."""


@dataclass(frozen=True)
class Word:
    """A word or number of a sentence, as it stands and in one form."""

    raw: str
    place: int

    @cached_property
    def form(self) -> str:
        """Its one form."""
        return self.raw.casefold().replace("’", "'")

    @property
    def is_negation(self) -> bool:
        """Whether it says no."""
        return self.form in _NEGATIONS or self.form.endswith(_NEGATED)

    @property
    def is_date(self) -> bool:
        """Whether it is a month or a day of the week."""
        return self.form in DATES and self.raw[0].isupper()

    @property
    def number(self) -> str | None:
        """Its value, where it is a number."""
        if self.raw[0].isdigit():
            return _value(self.raw)
        value = _WORDS.get(self.form)
        return None if value is None else str(value)

    @property
    def is_name(self) -> bool:
        """Whether it is written as a name is: where a sentence begins, every word is."""
        return (
            self.raw[0].isupper()
            and self.form not in FUNCTION_WORDS
            and not (self.is_date or self.is_negation)
            and self.number is None
        )

    @property
    def stem(self) -> str:
        """It without what its grammar adds, roughly."""
        form = self.form.removesuffix("'s")
        for ending in ("ing", "ies", "es", "ed", "s"):
            if form.endswith(ending) and len(form) - len(ending) >= 3:
                return form.removesuffix(ending)
        return form


def words_in(text: str) -> list[Word]:
    """Return the words and numbers of a text, in order."""
    return [Word(found.group(), place) for place, found in enumerate(_TOKEN.finditer(text))]


def numbers_in(text: str) -> frozenset[str]:
    """
    Return the numbers of a text, each in one form.

    >>> sorted(numbers_in("In 1887 two men paid 1,250.50 for it, 3 of 4.0 parts."))
    ['1250.5', '1887', '2', '3', '4']
    """
    return frozenset(word.number for word in words_in(text) if word.number is not None)


def is_negated(text: str) -> bool:
    """
    Return whether a text says no, an odd number of times.

    >>> is_negated("It isn't open."), is_negated("It is open."), is_negated("It never was not.")
    (True, False, False)
    """
    return sum(word.is_negation for word in words_in(text)) % 2 == 1


def names_in(text: str) -> frozenset[str]:
    """
    Return the words of a text that are written as names.

    >>> sorted(names_in("The keeper of Norderhaven was Ann Berg."))
    ['ann', 'berg', 'norderhaven']
    """
    return frozenset(word.form.removesuffix("'s") for word in words_in(text) if word.is_name)


def dates_in(text: str) -> frozenset[str]:
    """Return the months and days of the week that a text names."""
    return frozenset(word.form for word in words_in(text) if word.is_date)


def forms_in(text: str) -> frozenset[str]:
    """Return all words of a text, each in one form."""
    return frozenset(word.form.removesuffix("'s") for word in words_in(text))


def stems_of(words: Iterator[Word]) -> frozenset[str]:
    """Return what words are about: neither names nor numbers, nor how they belong together."""
    return frozenset(
        word.stem
        for word in words
        if word.form not in FUNCTION_WORDS
        and word.form not in VERBS
        and word.number is None
        and not (word.is_date or word.is_negation)
    )


def _value(raw: str) -> str:
    """Return the digits of a number in one form: `1,250.50` is `1250.5`."""
    plain = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in raw)
    if _THOUSANDS.fullmatch(plain):
        plain = plain.replace(",", "")
    plain = plain.replace(",", ".")
    if plain.count(".") == 1:
        plain = plain.rstrip("0").rstrip(".")
    whole, point, rest = plain.partition(".")
    return (whole.lstrip("0") or "0") + point + rest
