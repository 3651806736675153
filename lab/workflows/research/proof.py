"""
Whether a quote stands where a citation says, and proves what the report claims.

Nothing here is asked of a model but how near two sentences are in meaning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from typing import Final

from lab.web.bodies import says
from lab.web.warc import digest_of
from lab.workflows.research.wording import (
    DETOURS,
    PRONOUNS,
    QUALIFIERS,
    VERBS,
    dates_in,
    exact_forms,
    forms_in,
    is_english,
    is_negated,
    names_in,
    numbers_in,
    own_words,
)

SAME: Final = 1.0
"""Score of a claim in the words of its quote."""
NOT_READ: Final = "the quote is not recognised as English, and proves its own words alone"
"""Why a claim in other words is not proven: what may be left out is known of one language."""


@dataclass(frozen=True)
class Place:
    """
    A place in a page.

    Attributes
    ----------
    start, end : int
        In the text of the page, in Unicode characters.
    quote : str
        What stands there.
    sha256 : str
        Of the body of the page's snapshot.
    """

    start: int
    end: int
    quote: str
    sha256: str


@dataclass(frozen=True)
class Stored:
    """
    A page as it is kept.

    Attributes
    ----------
    text : str
        Its text.
    sha256 : str
        The hash that names its snapshot.
    body : bytes
        What the snapshot holds.
    text_digest : str, optional
        Hash that the snapshot names of the text that was made out of its body.
    body_text : str, optional
        All that stands in the body, where the snapshot names no hash; None for a PDF.
    """

    text: str
    sha256: str
    body: bytes
    text_digest: str | None
    body_text: str | None = None


def wrong_place(place: Place, page: Stored | None) -> str | None:
    """
    Return why a quote does not stand where it should, or None where it does.

    >>> text, body = "It is so.", b"<p>It is so."
    >>> page = Stored(text, sha256_of(body).hexdigest(), body, digest_of(text))
    >>> wrong_place(Place(0, 9, "It is so.", page.sha256), page) is None
    True
    >>> wrong_place(Place(1, 9, "It is so.", page.sha256), page)
    'other words stand there'
    """
    if page is None:
        return "the page was deleted"
    if page.sha256 != place.sha256:
        return "the page has another snapshot"
    if sha256_of(page.body).hexdigest() != place.sha256:
        return "the snapshot is damaged"
    if (forged := _not_of_snapshot(place, page)) is not None:
        return forged
    if not 0 <= place.start < place.end <= len(page.text):
        return "the page has no such place"
    if page.text[place.start : place.end] != place.quote:
        return "other words stand there"
    return None


def _not_of_snapshot(place: Place, page: Stored) -> str | None:
    """Return why what the text says is not the snapshot's; None where it is."""
    if page.text_digest is None:
        if says(page.body_text, place.quote):
            return None
        return "the snapshot names no hash of its text, and the quote was not found in its body"
    if digest_of(page.text) != page.text_digest:
        return "the text is not what the snapshot says"
    return None


def unproven(claim: str, quote: str, score: float, least: float) -> str | None:
    """
    Return why a quote does not prove a claim, or None where it does.

    Parameters
    ----------
    claim, quote : str
        What is said, and what shall prove it.
    score : float
        Their cosine.
    least : float
        Least cosine of a proof.

    Examples
    --------
    >>> unproven("It was lit in 1999.", "It was lit in 1887.", 0.99, 0.75)
    'the quote has no number 1999'
    """
    if claim == quote:
        return None
    if missing := numbers_in(claim) - numbers_in(quote):
        return f"the quote has no number {', '.join(sorted(missing))}"
    if not is_english(quote):
        return None if own_words(claim) == own_words(quote) else NOT_READ
    if missing := dates_in(claim) - dates_in(quote):
        return f"the quote has no date {', '.join(sorted(missing))}"
    if missing := names_in(claim) - forms_in(quote):
        return f"the quote does not name {', '.join(sorted(missing))}"
    if is_negated(claim) != is_negated(quote):
        return "one of them says no"
    if score < least:
        return f"they differ in meaning (cosine {score:.2f}, at least {least:.2f} is needed)"
    return _other_words(exact_forms(claim), exact_forms(quote), names_in(quote))


def _other_words(claim: list[str], quote: list[str], names: frozenset[str]) -> str | None:
    """
    Return why a quote does not say what a claim says, word by word; None where it does.

    A claim may leave out words of its quote, in order: at the beginning for a pronoun, and further
    on from a preposition or a clause, as the rest of a noun makes it another. None of them may
    qualify what is said, or be a verb, number or name (but after `of`), of which what follows would
    be said.
    """
    if lost := (set(quote) & QUALIFIERS) - set(claim):
        return f"the quote says {', '.join(sorted(lost))}"
    said = claim[1:] if claim and claim[0] in PRONOUNS else claim
    if not said:
        return "it says nothing"
    last = 0
    for n_said, word in enumerate(said):
        if word not in quote[last:]:
            return f"the quote does not say “{word}” there"
        place = quote.index(word, last)
        if (n_said or said == claim) and (bound := _bound(quote[last:place], names, n_said)):
            return f"the quote says {', '.join(bound)} before “{word}”"
        last = place + 1
    if rest := [one for one in quote[last : last + 1] if one not in DETOURS]:
        return f"the quote says {rest[0]} at the end"
    return None


def _bound(passed: Sequence[str], names: frozenset[str], n_said: int) -> Sequence[str]:
    """Return which words that a claim leaves out others hang on."""
    if not n_said or (passed and passed[0] not in DETOURS):
        return passed
    hidden = names if passed[:1] != ["of"] else frozenset()
    return [one for one in passed if _binds(one, hidden)]


def _binds(word: str, names: frozenset[str]) -> bool:
    """Return whether other words hang on this one: a verb, a name, a number."""
    named = word.removesuffix("'s") in names
    return named or word in VERBS or word[0].isdigit() or word.endswith("ed")
