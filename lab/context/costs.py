"""What a piece costs in tokens."""

from collections.abc import Callable, Sequence
from math import ceil

from lab.context.pieces import Exchange, Note
from lab.prompts import MEMORIES_HEADING
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role

CountTokens = Callable[[Sequence[ChatMessage]], int]


class Costs:
    """
    Tokens that a piece adds to a window, each text measured once.

    Every text is measured as one user message, which each chat template accepts; what the markers
    of a message cost is measured on a dialogue of empty ones. Sums are close estimates: the
    assembler counts the whole window before it is used.

    Parameters
    ----------
    count : callable
        Tokens of a list of messages under the model's chat template.
    """

    def __init__(self, count: CountTokens) -> None:
        self._count = count
        self._known: dict[str, int] = {}
        user, assistant = (ChatMessage(role=r, content="") for r in (Role.user, Role.assistant))
        self._empty = count([user])
        self._markers = ceil((count([user, assistant, user]) - self._empty) / 2)

    def of_text(self, text: str) -> int:
        """Return the tokens of a text alone."""
        if text not in self._known:
            message = ChatMessage(role=Role.user, content=text)
            self._known[text] = self._count([message]) - self._empty
        return self._known[text]

    def of_message(self, message: ChatMessage) -> int:
        """Return the tokens of a message with its markers and tool calls."""
        calls = "".join(call.model_dump_json() for call in message.tool_calls)
        return self._markers + self.of_text((message.content or "") + calls)

    def of_line(self, note: Note) -> int:
        """Return the tokens of a turn or a summary as a line among the memories."""
        return 1 + self.of_text(note.line) if note.line else 0

    def of_notes(self, notes: Sequence[Note]) -> int:
        """Return the tokens of memories or summaries under their heading."""
        lines = sum(map(self.of_line, notes))
        return self.of_heading() + lines if lines else 0

    def of_heading(self) -> int:
        """Return the tokens of the heading of the memories."""
        return self._markers + self.of_text(MEMORIES_HEADING)

    def of_exchanges(self, exchanges: Sequence[Exchange]) -> int:
        """Return the tokens of whole exchanges."""
        return sum(self.of_message(turn.message) for exchange in exchanges for turn in exchange)
