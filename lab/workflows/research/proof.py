"""
Whether a quote stands where a citation says, and proves what the report claims.

Nothing here is asked of a model but how near two sentences are in meaning.
"""

from dataclasses import dataclass
from hashlib import sha256 as sha256_of
from typing import Final

from lab.workflows.research.wording import (
    dates_in,
    forms_in,
    is_negated,
    names_in,
    numbers_in,
)

SAME: Final = 1.0
"""Score of a claim in the words of its quote."""


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
    """A page as it is kept: its text, the hash that names its snapshot, and the snapshot's body."""

    text: str
    sha256: str
    body: bytes


def wrong_place(place: Place, page: Stored | None) -> str | None:
    """
    Return why a quote does not stand where it should, or None where it does.

    >>> page = Stored("It is so.", sha256_of(b"<p>It is so.").hexdigest(), b"<p>It is so.")
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
    if not 0 <= place.start < place.end <= len(page.text):
        return "the page has no such place"
    if page.text[place.start : place.end] != place.quote:
        return "other words stand there"
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
    if missing := dates_in(claim) - dates_in(quote):
        return f"the quote has no date {', '.join(sorted(missing))}"
    if missing := names_in(claim) - forms_in(quote):
        return f"the quote does not name {', '.join(sorted(missing))}"
    if is_negated(claim) != is_negated(quote):
        return "one of them says no"
    if score < least:
        return f"they differ in meaning (cosine {score:.2f}, at least {least:.2f} is needed)"
    return None
