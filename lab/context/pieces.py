"""What a window is made of."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from lab.prompts import DOCUMENTS_HEADING, FACTS_HEADING, MEMORIES_HEADING
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind


@dataclass(frozen=True)
class Budget:
    """Tokens to share out."""

    context_length: int
    """Tokens of the model's window."""

    answer_tokens: int
    """Tokens kept free for the answer."""

    @property
    def prompt_tokens(self) -> int:
        """Most tokens of the prompt."""
        return self.context_length - self.answer_tokens


@dataclass(frozen=True)
class Citation:
    """Where a passage stands."""

    source: str
    """Name of the document, with the page where there is one."""

    start: int
    """Where it begins in the document's text, in characters."""

    end: int


@dataclass(frozen=True)
class Candidate:
    """What may stand in the window: a turn, as recent talk or as a memory, a passage, a fact."""

    message: ChatMessage
    source_id: UUID | None = None
    """The message or document it is of, where it is stored."""

    said_at: datetime | None = None
    position: int = 0
    """Index in its conversation, which orders turns without a date."""

    score: float | None = None
    """Relevance to the question, in [0, 1], where it was searched for."""

    citation: Citation | None = None
    """Where it stands, if it is a passage of a document."""

    shared_by: str | None = None
    """Login name of who shares it, where it is another's."""

    @property
    def text(self) -> str:
        """What was said, on one line."""
        return " ".join((self.message.content or "").split())

    @property
    def line(self) -> str:
        """The piece as a line under the heading of its block."""
        date = f"{self.said_at:%Y-%m-%d} " if self.said_at else ""
        speaker = " ".join((self.message.name or self.message.role.value).split())
        if self.shared_by:
            speaker = f"{self.shared_by} ({speaker})"
        return f"- {date}{self.citation.source if self.citation else speaker}: {self.text}"

    @property
    def key(self) -> object:
        """What two appearances of one piece share: where it is stored, or its words."""
        if self.citation:
            return self.source_id, self.citation.start
        return self.source_id or self.saying

    @property
    def saying(self) -> tuple[Role, str, str | None]:
        """Who said what, regardless of case, and by whom it is shared."""
        return self.message.role, self.text.casefold(), self.shared_by

    @property
    def told(self) -> object:
        """What a turn and its copy in a fork share: who said what, and when."""
        return self.saying, self.said_at

    def stands_among(self, recent: Set[object], begin: int | None) -> bool:
        """Return whether recent turns say it: their keys, and where the stored ones begin."""
        return self.key in recent or self.told in recent


@dataclass(frozen=True, kw_only=True)
class Digest(Candidate):
    """
    A summary of talk, which may stand in its place.

    Its text is a point a line, or empty where nothing worth telling was said; its position is that
    of the last message that it covers.
    """

    source_id: UUID
    said_at: datetime
    level: int
    first_position: int

    @property
    def text(self) -> str:
        """What it tells, a point a line."""
        return self.message.content or ""

    @property
    def line(self) -> str:
        """The summary as a line under the heading of its block; empty as the summary is."""
        points = " ".join(line.removeprefix("- ") for line in self.text.splitlines())
        return f"- {self.said_at:%Y-%m-%d} summary: {points}" if points else ""

    def covers(self, exchange: "Exchange") -> bool:
        """Return whether it tells of all that is said in an exchange."""
        return all(
            bool(turn.source_id) and (not turn.text or self._tells_of(turn)) for turn in exchange
        )

    def _tells_of(self, turn: Candidate) -> bool:
        return self.first_position <= turn.position <= self.position


@dataclass(frozen=True, kw_only=True)
class Claim(Candidate):
    """
    A fact: what was told once, and holds.

    Its position is that of the last message that may have told it.
    """

    first_position: int | None
    """Position of the first one, if they are of this conversation."""

    def stands_among(self, recent: Set[object], begin: int | None) -> bool:
        """Return whether all the messages that may have told it are recent."""
        return (
            begin is not None and self.first_position is not None and self.first_position >= begin
        )


def oldest_first(pieces: Sequence[Candidate]) -> list[Candidate]:
    """Order by time, so that the last statement of a fact stands last."""
    return sorted(pieces, key=lambda t: (t.said_at.timestamp() if t.said_at else 0.0, t.position))


def best_last(pieces: Sequence[Candidate]) -> list[Candidate]:
    """Turn what is best first around, so that the best stands nearest to the question."""
    return list(reversed(pieces))


@dataclass(frozen=True)
class Block:
    """Lines under a heading in the system message, of one source or more."""

    heading: str
    arranged: Callable[[Sequence[Candidate]], list[Candidate]]
    """Puts pieces that are best first into the order in which they stand."""

    def of(self, pieces: Sequence[Candidate]) -> str:
        """Return pieces, best first, as they stand in the system message."""
        lines = "\n".join(piece.line for piece in self.arranged(pieces) if piece.line)
        return self.heading + lines if lines else ""


DOCUMENTS: Final = Block(DOCUMENTS_HEADING, best_last)
MEMORIES: Final = Block(MEMORIES_HEADING, oldest_first)
FACTS: Final = Block(FACTS_HEADING, best_last)
BLOCKS: Final = (DOCUMENTS, MEMORIES, FACTS)
"""In the order in which they stand."""


@dataclass(frozen=True)
class Source:
    """Pieces of one kind that bear on the question, and how much of the window they may take."""

    kind: SourceKind
    one: str
    """What a piece is called."""

    many: str
    """What they are called together."""

    block: Block
    """Where the pieces stand."""

    candidates: Sequence[Candidate]
    """Best first; those in the window anyway are skipped."""

    share: float
    """Most of the space beside system prompt and question that they may take, in [0, 1]."""

    most: int
    """Most pieces in one window."""


@dataclass(frozen=True, kw_only=True)
class Summaries(Source):
    """What was said earlier in fewer words: each that stands sends away the talk that it covers."""

    candidates: Sequence[Digest]
    """Earliest first; none covers what another one does."""

    level_weights: Sequence[float]
    """How the share is divided among the levels, from 1 on."""

    keep_messages: int
    """Newest messages that no summary sends away."""


def memories(candidates: Sequence[Candidate], *, share: float, most: int) -> Source:
    """Return turns that were said before as a source."""
    return Source(
        kind=SourceKind.memory,
        one="memory",
        many="memories",
        block=MEMORIES,
        candidates=candidates,
        share=share,
        most=most,
    )


def documents(candidates: Sequence[Candidate], *, share: float, most: int) -> Source:
    """Return passages of documents as a source."""
    return Source(
        kind=SourceKind.document,
        one="passage",
        many="documents",
        block=DOCUMENTS,
        candidates=candidates,
        share=share,
        most=most,
    )


def facts(candidates: Sequence[Claim], *, share: float, most: int) -> Source:
    """Return facts as a source."""
    return Source(
        kind=SourceKind.fact,
        one="fact",
        many="facts",
        block=FACTS,
        candidates=candidates,
        share=share,
        most=most,
    )


def summaries(
    candidates: Sequence[Digest],
    *,
    share: float,
    level_weights: Sequence[float],
    keep_messages: int,
) -> Summaries:
    """Return summaries of the conversation, the earliest first, as a source among the memories."""
    return Summaries(
        kind=SourceKind.summary,
        one="summary",
        many="summaries",
        block=MEMORIES,
        candidates=candidates,
        share=share,
        most=len(candidates),
        level_weights=level_weights,
        keep_messages=keep_messages,
    )


@dataclass(frozen=True)
class Chosen:
    """The pieces of one source that stand in the window, best first."""

    source: Source
    pieces: Sequence[Candidate]

    @property
    def standing(self) -> list[Candidate]:
        """The pieces in the order in which they stand."""
        return self.source.block.arranged(self.pieces)


Exchange = Sequence[Candidate]
"""A user message with all that follows it until the next one."""


def exchanges_of(history: Sequence[Candidate]) -> list[Exchange]:
    """Group turns, oldest first, into exchanges."""
    groups: list[list[Candidate]] = []
    for turn in history:
        if turn.message.role is Role.user or not groups:
            groups.append([])
        groups[-1].append(turn)
    return list(groups)
