"""What a piece costs in tokens."""

from collections.abc import Callable, Sequence
from math import ceil

from lab.context.pieces import Block, Candidate, Chosen, Exchange
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role

CountTokens = Callable[[Sequence[ChatMessage]], int]
CountText = Callable[[str], int]


class Costs:
    """
    Tokens that a piece adds to a window, each text measured once.

    Texts are measured alone, and what the markers of a message cost on a dialogue of empty ones.
    Sums are close estimates: the assembler counts the whole window before it is used.

    Parameters
    ----------
    count : callable
        Tokens of a list of messages under the model's chat template.
    count_text : callable
        Tokens of a text alone.
    """

    def __init__(self, count: CountTokens, count_text: CountText) -> None:
        self._count_text = count_text
        self._known: dict[str, int] = {}
        user, assistant = (ChatMessage(role=r, content="") for r in (Role.user, Role.assistant))
        self._markers = ceil((count([user, assistant, user]) - count([user])) / 2)

    def of_text(self, text: str) -> int:
        """Return the tokens of a text alone."""
        if text not in self._known:
            self._known[text] = self._count_text(text)
        return self._known[text]

    def of_message(self, message: ChatMessage) -> int:
        """Return the tokens of a message with its markers and tool calls."""
        calls = "".join(call.model_dump_json() for call in message.tool_calls)
        return self._markers + self.of_text((message.content or "") + calls)

    def of_line(self, piece: Candidate) -> int:
        """Return the tokens of a piece as a line of its block."""
        return 1 + self.of_text(piece.line) if piece.line else 0

    def of_chosen(self, chosen: Chosen) -> int:
        """Return the tokens of what is chosen of a source, with a heading of its own."""
        lines = sum(map(self.of_line, chosen.pieces))
        return self.of_heading(chosen.source.block) + lines if lines else 0

    def of_heading(self, block: Block) -> int:
        """Return the tokens of the heading of a block."""
        return self._markers + self.of_text(block.heading)

    def of_exchanges(self, exchanges: Sequence[Exchange]) -> int:
        """Return the tokens of whole exchanges."""
        return sum(self.of_message(turn.message) for exchange in exchanges for turn in exchange)
