"""What a window is made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role


@dataclass(frozen=True)
class Budget:
    """Tokens to share out."""

    context_length: int
    """Tokens of the model's window."""

    answer_tokens: int
    """Tokens kept free for the answer."""

    memory_share: float
    """Most of the space beside system prompt and question that memories may take, in [0, 1]."""

    max_memories: int = 12
    """Most memories in one window."""

    summary_share: float = 0.0
    """Most of that space that summaries may take, in [0, 1]."""

    level_weights: Sequence[float] = (1, 1, 1, 1)
    """How the space of summaries is shared out among their levels, from 1 on."""

    keep_messages: int = 0
    """Newest messages that a summary does not send away."""

    @property
    def prompt_tokens(self) -> int:
        """Most tokens of the prompt."""
        return self.context_length - self.answer_tokens


@dataclass(frozen=True)
class Candidate:
    """A turn that may stand in the window, as recent talk or as a memory."""

    message: ChatMessage
    source_id: UUID | None = None
    """The message it is, where it is stored."""

    said_at: datetime | None = None
    position: int = 0
    """Index in its conversation, which orders turns without a date."""

    score: float | None = None
    """Relevance to the question, in [0, 1], where it was searched for."""

    @property
    def text(self) -> str:
        """What was said, on one line."""
        return " ".join((self.message.content or "").split())

    @property
    def line(self) -> str:
        """The turn as a line among the memories."""
        date = f"{self.said_at:%Y-%m-%d} " if self.said_at else ""
        return f"- {date}{self.message.name or self.message.role.value}: {self.text}"

    @property
    def key(self) -> object:
        """What two appearances of one turn share: its stored message, or its words."""
        return self.source_id or self.saying

    @property
    def saying(self) -> tuple[Role, str]:
        """Who said what, regardless of case."""
        return self.message.role, self.text.casefold()


@dataclass(frozen=True)
class Digest:
    """A summary that may stand in the window, in the place of what it covers."""

    source_id: UUID
    level: int
    first_position: int
    last_position: int
    text: str
    """A point a line; empty where nothing worth telling was said."""

    said_at: datetime
    """When the last of what it covers was said."""

    @property
    def line(self) -> str:
        """The summary as a line among the memories."""
        points = " ".join(line.removeprefix("- ") for line in self.text.splitlines())
        return f"- {self.said_at:%Y-%m-%d} summary: {points}" if points else ""

    @property
    def position(self) -> int:
        """Index of the last message that it covers."""
        return self.last_position

    def covers(self, exchange: "Exchange") -> bool:
        """Return whether it tells of all that is said in an exchange."""
        return all(
            self.first_position <= turn.position <= self.last_position
            for turn in exchange
            if turn.text
        )


Note = Candidate | Digest
"""What stands in the block of memories."""
NoteT = TypeVar("NoteT", bound=Note)

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


def oldest_first(notes: Iterable[NoteT]) -> list[NoteT]:
    """Order by time, so that the last statement of a fact stands last."""
    return sorted(notes, key=lambda n: (n.said_at.timestamp() if n.said_at else 0.0, n.position))
