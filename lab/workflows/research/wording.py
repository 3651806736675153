"""
What of a sentence has to be exact: its numbers, names and negations.

Numbers in digits are read in every language, all else as English writes it: see `is_english`.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Final

_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")

_ONES: Final = re.findall(
    r"\w+",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen",
)
_TENS: Final = re.findall(r"\w+", "twenty thirty forty fifty sixty seventy eighty ninety")
_WORDS: Final = {
    **{word: value for value, word in enumerate(_ONES, 1)},
    **{word: 10 * value for value, word in enumerate(_TENS, 2)},
}
_SCALES: Final = {
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
}
_DIGITS: Final = r"\d+(?:[.,]\d+)*"
_SCALE: Final = f"(?a:{'|'.join(_SCALES)})"
_NUMERAL: Final = f"(?a:{'|'.join([*_WORDS, *_SCALES])})"
_TOKEN = re.compile(
    rf"{_DIGITS}(?:[\s-]+{_SCALE}\b)+"
    rf"|\b{_NUMERAL}(?:[\s-]+{_NUMERAL}|(?<=d)[\s]+and\s+{_NUMERAL})*\b"
    rf"|{_DIGITS}|[^\W\d_]+(?:['’][^\W\d_]+)*",
    re.IGNORECASE,
)
"""A number with its words, such as `1.5 million` or `two hundred and one`; or a word."""
_PART = re.compile(rf"{_DIGITS}|[^\W\d_]+")
TITLES: Final = frozenset(
    ["mr", "mrs", "ms", "miss", "dr", "prof", "professor", "sir", "dame", "st", "captain"]
)
UNITS: Final = {
    form: forms.split()[0]
    for forms in (
        "metre metres meter meters m",
        "kilometre kilometres kilometer kilometers km",
        "centimetre centimetres centimeter centimeters cm",
        "millimetre millimetres millimeter millimeters mm",
        "foot feet ft",
        "inch inches",
        "yard yards yd",
        "mile miles mi",
        "kilogram kilograms kg",
        "gram grams g",
        "ton tons tonne tonnes",
        "pound pounds lb lbs",
        "ounce ounces oz",
        "litre litres liter liters l",
        "gallon gallons",
        "hectare hectares ha",
        "acre acres",
        "second seconds s",
        "minute minutes min",
        "hour hours h",
        "day days",
        "week weeks",
        "month months",
        "year years",
        "century centuries",
        "dollar dollars",
        "euro euros",
        "crown crowns",
        "percent",
        "celsius",
        "fahrenheit",
        "watt watts w",
        "kilowatt kilowatts kw",
        "megawatt megawatts mw",
    )
    for form in forms.split()
}
"""What is measured in, in one form: numbers of different units are no different numbers."""
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
ARTICLES: Final = frozenset(["a", "an", "the"])
PRONOUNS: Final = frozenset(["it", "its", "he", "she", "his", "her", "they", "their", "this"])
DETOURS: Final = frozenset(
    re.findall(
        r"\w+",
        "of in at on for from to with by since during through and which who that where when while"
        " as because",
    )
)
"""Words that begin what a sentence may also do without."""
QUALIFIERS: Final = frozenset(
    re.findall(
        r"\w+",
        "not no never none neither nor nobody nothing nowhere without cannot only nearly almost"
        " about around roughly approximately hardly barely if unless until would could should"
        " may might must planned plans expected supposed alleged allegedly claimed claims"
        " reportedly rumoured said says believed thought according"
        " probably perhaps possibly false wrong wrongly myth or before"
        " after between least most more less fewer over under except but",
    )
)
"""Words without which a sentence says something else."""
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
_ENGLISH: Final = frozenset(
    re.findall(
        r"\w+",
        "the and it its with from that this these those which who whose when where are were been"
        " being have had they their them there his she he not first after before between about"
        " most many each other into than because during while would could should today one two"
        " three four five six seven eight nine ten",
    )
)
"""Words of which most English sentences have one, and those of other languages hardly any."""
_FOREIGN: Final = frozenset(
    re.findall(
        r"\w+",
        "das den dem des und ist sind nicht kein keine keinem keinen ein eine einer eines einem"
        " einen im zum zur mit auf für wurde wird werden auch sich nach bei aus"
        " les et est une dans pas pour qui que sur avec ne ni au aux ce cette"
        " las y es una por con su se lo más il gli che non è della nel"
        " os um uma não em na het een niet geen en zijn met voor naar"
        " og ikke er af til på det inte är att som ett jest nie się w z ve bir",
    )
)
"""The like of its neighbours, without what stands in names, as `van der` does."""
_ROUND: Final = " \t\"'’‘”“„«»‹›()[].!…。！"
"""What may stand around a sentence that is the same without."""
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

    @cached_property
    def number(self) -> str | None:
        """Its value, where it is a number; `one` is a pronoun too, and a day in digits is none."""
        return _number(self.raw)

    @property
    def is_name(self) -> bool:
        """Whether it is written as a name is: where a sentence begins, every word is."""
        return (
            self.raw[0].isupper()
            and self.form not in FUNCTION_WORDS
            and self.form not in TITLES
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


@lru_cache(maxsize=1024)
def words_in(text: str) -> tuple[Word, ...]:
    """Return the words and numbers of a text, in order."""
    parts = (part for found in _TOKEN.finditer(text) for part in _numbers_apart(found.group()))
    return tuple(Word(part, place) for place, part in enumerate(parts))


def exact_forms(text: str) -> list[str]:
    """
    Return the words of a text in order, each in one form, without articles.

    >>> exact_forms("The tower's boats are thirty-one.")
    ["tower's", 'boats', 'are', '31']
    """
    return [w.number or w.form for w in words_in(text) if w.form not in ARTICLES]


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


@lru_cache(maxsize=1024)
def is_english(text: str) -> bool:
    """
    Return whether a text shows by its common words that it is English.

    >>> is_english("The tower is open."), is_english("Der Turm ist offen."), is_english("Open!")
    (True, False, False)
    """
    forms = [word.form for word in words_in(text)]
    n_foreign = sum(form in _FOREIGN or not _is_latin(form) for form in forms)
    return sum(form in _ENGLISH for form in forms) > n_foreign


def _is_latin(form: str) -> bool:
    return all("LATIN" in unicodedata.name(c, "") for c in form if c.isalpha())


def own_words(text: str) -> str:
    """
    Return a text without what makes no other text of it in any language: case, spaces, quotes.

    >>> own_words("„Der  Turm ist offen.“")
    'der turm ist offen'
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).strip(_ROUND)


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
        and word.form not in TITLES
        and word.number is None
        and not (word.is_date or word.is_negation)
    )


def _numbers_apart(raw: str) -> Iterator[str]:
    """Yield the numbers that stand side by side: `nineteen fifty` is two."""
    if raw[0].isdecimal() or not re.search(r"[\s-]", raw):
        yield raw
        return
    start, last, parts = 0, 0, list(_PART.finditer(raw))
    size = 0
    for found in parts:
        form = found.group().casefold()
        if form != "and":
            value = _WORDS.get(form, 0)
            if value and last and not (last >= 100 or (last >= 20 > 9 >= value)):
                yield raw[start:size]
                start = found.start()
            last = value or _SCALES[form]
        size = found.end()
    yield raw[start:]


def _number(raw: str) -> str | None:
    """
    Return the value of a number in digits, words, or both.

    >>> [_number(raw) for raw in ("1.5 million", "two hundred and thirty-one", "one", "5.5.1950")]
    ['1500000', '231', None, None]
    """
    forms = [found.group().casefold() for found in _PART.finditer(raw)]
    if raw.casefold() in ("one", "and") or not (forms and all(map(_is_numeral, forms))):
        return None
    if raw[0].isdecimal() and len(forms) == 1:
        return _value(raw)
    total, group = Decimal(0), Decimal(0)
    for form in forms:
        if form == "hundred":
            group = (group or Decimal(1)) * 100
        elif form in _SCALES:
            total, group = total + (group or 1) * _SCALES[form], Decimal(0)
        elif form != "and":
            group += Decimal(_value(form)) if form[0].isdecimal() else _WORDS[form]
    return _value(f"{total + group:f}")


def _is_numeral(form: str) -> bool:
    """Return whether it is part of a number."""
    if form[0].isdecimal():
        return _value(form).count(".") <= 1
    return form in _WORDS or form in _SCALES or form == "and"


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
