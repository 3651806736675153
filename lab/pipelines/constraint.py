"""Hold an answer to a grammar, token by token."""

from collections.abc import Sequence

import numpy as np
import torch
from llguidance import LLMatcher
from numpy.typing import NDArray
from torch import Tensor

from lab.pipelines.text import overlap
from lab.pipelines.vocabulary import Vocabulary

RUNNING = "NotStopped"
ENDED = {"NoExtension", "NoExtensionBias", "EndOfSentence"}
"""What the library says of an answer that is whole; all else is a limit that it ran into."""

Bits = NDArray[np.uint8]
"""Eight tokens a byte, the lowest bit first."""


class Constraint:
    """
    The tokens that may come next in one answer.

    Parameters
    ----------
    matcher : LLMatcher
        Of the answer's grammar, at its beginning.
    """

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def allowed(self) -> Bits:
        """Return the tokens that may come next; none where the grammar became too complex."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        return np.zeros_like(bits) if self.problem else bits

    def take(self, token: int) -> None:
        """Go on with the token that was chosen; -1 is none."""
        if token >= 0:
            self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing can follow."""
        return self._matcher.stop_reason() in ENDED

    @property
    def problem(self) -> str:
        """Why nothing can follow though the answer is not whole; empty where all is well."""
        reason = self._matcher.stop_reason()
        return "" if reason == RUNNING or reason in ENDED else reason


class AfterThinking(Constraint):
    """
    A constraint that begins where the reasoning ends.

    Until then the answer may not end, and no token may reach beyond the marker into what follows
    but for white space.

    Parameters
    ----------
    matcher : LLMatcher
        Of what follows the reasoning.
    marker : str
        Ends the reasoning.
    vocabulary : Vocabulary
        Bytes of the tokens.
    n_tokens : int
        Width of the logits.
    end_ids : frozenset of int
        Tokens that end an answer.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        marker: str,
        vocabulary: Vocabulary,
        n_tokens: int,
        end_ids: frozenset[int],
    ) -> None:
        super().__init__(matcher)
        self._marker = marker
        self._vocabulary = vocabulary
        self._tail = ""
        self._thinking = True
        self._free = np.ones(n_tokens, np.bool_)
        self._free[list(end_ids)] = False
        self._crossing = vocabulary.crossing(marker[-1], n_tokens)

    def allowed(self) -> Bits:
        """Return the tokens that may come next."""
        if not self._thinking:
            return super().allowed()
        free = self._free.copy()
        for token, text in self._crossing:
            _, marker, after = (self._tail + text).partition(self._marker)
            if marker and after.strip():
                free[token] = False
        return np.packbits(free, bitorder="little")

    def take(self, token: int) -> None:
        """Go on with the token that was chosen."""
        if not self._thinking:
            super().take(token)
        elif token >= 0:
            text = self._tail + self._vocabulary.text_of(token)
            self._thinking = self._marker not in text
            self._tail = text[len(text) - overlap(text, self._marker) :]

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and nothing can follow."""
        return not self._thinking and super().complete


def forbid(logits: Tensor, rows: Sequence[int], constraints: Sequence[Constraint]) -> None:
    """
    Set what may not come next to -inf, in place, in these rows of (B, V) logits.

    On an accelerator the model still computes them meanwhile: what may come next is found first,
    and sent to the device at once.
    """
    n_tokens = logits.shape[1]
    bits = np.stack([constraint.allowed() for constraint in constraints])
    allowed = np.unpackbits(bits, axis=1, count=n_tokens, bitorder="little").view(np.bool_)
    mask = torch.from_numpy(~allowed).to(logits.device)
    logits[list(rows)] = logits[list(rows)].masked_fill(mask, -torch.inf)
