"""What steps of research hand on, as it is stored with them."""

from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from pydantic import TypeAdapter

from lab.web.sites import site_of

T = TypeVar("T")


@dataclass(frozen=True)
class Passage:
    """A sentence of a page that bears on a question, and where it stands."""

    page_id: UUID
    url: str
    title: str
    start: int
    end: int
    quote: str
    sha256: str
    score: float
    """Cosine to the question."""

    @property
    def site(self) -> str:
        """Who says it, as far as one can tell: pages of one site do not confirm each other."""
        return site_of(self.url)


@dataclass(frozen=True)
class Planned:
    """The questions that are searched for, and why the model proposed none where it was asked."""

    questions: list[str]
    why_none: str | None = None


@dataclass(frozen=True)
class Searched:
    """How a search went."""

    asked: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Gathered:
    """What reading for a question came to: addresses with the reason why they were not read."""

    n_read: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Analysis:
    """
    What pages say on a question.

    Attributes
    ----------
    passages : list of Passage
        The sentences that bear on it, the nearest first.
    claims : list of list of int
        The passages that the report shall tell of; those of one claim say the same.
    spoke_to_reader : list of (str, int)
        Pages that speak to their reader, with how many of their sentences were left out for that.
    cut : list of str
        Pages that were not looked through to their end.
    """

    passages: list[Passage] = field(default_factory=list)
    claims: list[list[int]] = field(default_factory=list)
    spoke_to_reader: list[tuple[str, int]] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """A sentence of a report with the numbers of the sources that shall prove it."""

    text: str
    sources: list[int]


@dataclass(frozen=True)
class Section:
    """What a report says on a question."""

    question: str
    claims: list[Said]


@dataclass(frozen=True)
class Against:
    """Two sources that contradict each other, by number, and in what."""

    first: int
    second: int
    differences: list[str]


@dataclass(frozen=True)
class Draft:
    """A report before its citations are verified."""

    question: str
    summary: list[Said]
    sections: list[Section]
    contradictions: list[Against]
    sources: list[Passage]
    notes: list[str]

    def citations(self) -> list[tuple[str, int]]:
        """Return each claim with each source that shall prove it, in the order of the report."""
        told = [*self.summary, *(one for section in self.sections for one in section.claims)]
        pairs = [(one.text, number) for one in told for number in one.sources]
        cited = (number for one in self.contradictions for number in (one.first, one.second))
        pairs += [(self.sources[number - 1].quote, number) for number in cited]
        return list(dict.fromkeys(pairs))


PLANNED: Final = TypeAdapter(Planned)
SEARCHED: Final = TypeAdapter(Searched)
GATHERED: Final = TypeAdapter(Gathered)
ANALYSIS: Final = TypeAdapter(Analysis)
DRAFT: Final = TypeAdapter(Draft)


def written(kind: TypeAdapter[T], value: T) -> str:
    """Return a result as it is stored."""
    return kind.dump_json(value).decode()
