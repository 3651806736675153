"""Token ids to text, piece by piece, and the texts that end an answer."""

from collections.abc import Callable, Sequence

from lab.texts import NUL, REPLACEMENT


class Detokeniser:
    """
    Turn token ids into text as they come.

    Bytes of a character that is not complete yet are held back, so the pieces joined are the text
    of all ids decoded at once.

    Parameters
    ----------
    decode : callable
        Returns the text of a list of token ids.
    hidden : frozenset of int
        Ids that have no text, such as the end of a turn.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], hidden: frozenset[int] = frozenset()
    ) -> None:
        self._decode = decode
        self._hidden = hidden
        self._context: list[int] = []  # what the next piece may depend on, such as a leading space
        self._pending: list[int] = []

    def push(self, token: int) -> str:
        """Return the text that `token` completes; empty while a character is incomplete."""
        if token in self._hidden:
            return ""
        self._pending.append(token)
        piece = self._piece()
        if not piece or piece.endswith(REPLACEMENT):  # bytes that are no character, or not yet
            return ""
        self._context, self._pending = self._pending, []
        return piece.replace(NUL, REPLACEMENT)

    def finish(self) -> str:
        """Return what is left, with incomplete characters as U+FFFD."""
        piece = self._piece() if self._pending else ""
        self._pending = []
        return piece.replace(NUL, REPLACEMENT)

    def _piece(self) -> str:
        before = self._decode(self._context) if self._context else ""
        return self._decode(self._context + self._pending)[len(before) :]


class StopMatcher:
    """
    Cut a stream of text at the first of some stop texts, wherever the pieces break.

    >>> matcher = StopMatcher(["END"])
    >>> matcher.push("an E"), matcher.push("N"), matcher.push("D, more"), matcher.stopped
    ('an ', '', '', True)
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Return the text that is certainly no part of a stop text."""
        if not self._stops:
            return text
        text = self._held + text
        found = [i for i in (text.find(stop) for stop in self._stops) if i >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        n_held = max(overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]

    def finish(self) -> str:
        """Return the text held back; it did not become a stop text."""
        held, self._held = self._held, ""
        return held


def overlap(text: str, marker: str) -> int:
    """
    Return the length of the longest end of `text` that begins `marker` but is not all of it.

    >>> overlap("to be", "between")
    2
    """
    longest = min(len(text), len(marker) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(marker[:n])), 0)
