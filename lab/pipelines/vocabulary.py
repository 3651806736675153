"""The bytes and texts of single tokens."""

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from lab.schemas.token_logprob import TokenLogprob
from lab.schemas.top_logprob import TopLogprob

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How SentencePiece writes a token of one byte."""
SPACE = "\u2581"
"""How SentencePiece writes a space."""


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A token's log probability by the model alone, and the likeliest tokens at its place."""

    token: int
    logprob: float
    top: list[tuple[int, float]]


class Vocabulary:
    """
    What each token of a tokenizer stands for: UTF-8 by itself, or a part of a character.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Of byte-level BPE or of SentencePiece's kind.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.crossing = lru_cache(4)(self._crossing)

    def bytes_of(self, token: int) -> bytes:
        """Return the bytes that a token adds to a text; none for an id that is no token."""
        written = self._added.get(token)
        if written is not None:
            return written.encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""
        if self._bytes:
            return bytes(self._bytes[character] for character in piece)
        if found := BYTE.fullmatch(piece):
            return bytes([int(found[1], 16)])
        return piece.replace(SPACE, " ").encode()

    def text_of(self, token: int) -> str:
        """Return the text that a token adds; what is no whole character is U+FFFD."""
        return self.bytes_of(token).decode(errors="replace")

    def describe(self, likelihood: Likelihood) -> TokenLogprob:
        """Write out how likely a token was."""
        written = self.bytes_of(likelihood.token)
        return TokenLogprob(
            token=written.decode(errors="replace"),
            logprob=min(likelihood.logprob, 0),
            bytes=list(written),
            top_logprobs=[self._top(*pair) for pair in likelihood.top],
        )

    def _top(self, token: int, logprob: float) -> TopLogprob:
        written = self.bytes_of(token)
        text = written.decode(errors="replace")
        return TopLogprob(token=text, logprob=min(logprob, 0), bytes=list(written))

    def _crossing(self, character: str, n_tokens: int) -> list[tuple[int, str]]:
        """Return the tokens, with their texts, in which more than white space follows it."""
        texts = ((token, self.text_of(token)) for token in range(n_tokens))
        return [(token, text) for token, text in texts if text.partition(character)[2].strip()]

    @cached_property
    def _added(self) -> dict[int, str]:
        return {token: text for text, token in self._tokenizer.get_added_vocab().items()}

    @cached_property
    def _bytes(self) -> dict[str, int]:
        """The byte that each character of a byte-level token stands for; empty for others."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None or backend.decoder is None:
            return {}
        if b'"ByteLevel"' not in backend.decoder.__getstate__():
            return {}
        return {character: byte for byte, character in bytes_to_unicode().items()}
