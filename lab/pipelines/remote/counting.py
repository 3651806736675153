"""
How many tokens a prompt has that another server will read.

With a tokenizer the texts are counted exactly, and what pictures and the chat template add to them
is bounded by what the answers' usage showed. Without one, tokens are estimated from bytes: at first
half a token for each, about twice what languages take, and then as many as the most of the last
answers took, and a tenth more. Both err on the high side: a window is left a little emptier, not
overrun.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Final, Protocol

from tokenizers import Tokenizer

from lab.errors import ModelLoadError
from lab.messages import n_pictures
from lab.pipelines.remote.messages import texts_of
from lab.schemas.chat_message import ChatMessage
from lab.schemas.remote_endpoint import RemoteEndpoint
from lab.schemas.tool import Tool

FIRST_RATE: Final = 0.5
"""Tokens for a byte of UTF-8 until an answer said more; English takes about 0.25."""

MARGIN: Final = 1.1
KEPT: Final = 32
"""Answers that the rate is taken from."""

LEAST_BYTES: Final = 400
"""Of a shorter prompt the template is too large a part to say anything of the rate."""

TEMPLATE_TOKENS: Final = 8
"""What a chat template adds to a message, and once to a prompt, until an answer said more."""

TOOLS_TOKENS: Final = 256
"""What a chat template says of tools besides naming them, until an answer said more."""

PICTURE_TOKENS: Final = 2048
"""What a picture takes until an answer said more."""

KEPT_TEXTS: Final = 4096


class Allowance:
    """
    The most tokens that something took of late.

    Parameters
    ----------
    first : int
        What it is held to take until it was seen.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._seen: deque[int] = deque(maxlen=KEPT)

    @property
    def most(self) -> int:
        """Tokens to reckon with."""
        return max(self._seen, default=self._first)

    def saw(self, n_tokens: float) -> None:
        """Take what it took now."""
        self._seen.append(max(ceil(n_tokens), 0))


class Counter(Protocol):
    """Counts the tokens of a prompt."""

    @property
    def n_tokens(self) -> int | None:
        """Ids of tokens are below; None where the vocabulary is not known."""
        ...

    def text(self, text: str) -> int:
        """Return the tokens of a text."""
        ...

    def prompt(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of a prompt, chat template included."""
        ...

    def learn(
        self, messages: Sequence[ChatMessage], tools: Sequence[Tool], prompt_tokens: int
    ) -> None:
        """Take what a prompt really had."""
        ...


class Exact:
    """
    Count by a tokenizer; only what the chat template adds is not known.

    Parameters
    ----------
    tokenizer : Tokenizer
        Of the model.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()

        def count(text: str) -> int:
            return len(tokenizer.encode(text, add_special_tokens=False))

        self.text: Callable[[str], int] = lru_cache(KEPT_TEXTS)(count)
        self.n_tokens: int | None = max(tokenizer.get_vocab().values(), default=-1) + 1
        self._for_each = Allowance(TEMPLATE_TOKENS)
        self._for_tools = Allowance(TOOLS_TOKENS)
        self._for_picture = Allowance(PICTURE_TOKENS)

    def prompt(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the texts, and the most that others took beside such."""
        pictures = self._for_picture.most * n_pictures(messages)
        return self._spoken(messages, tools) + pictures

    def learn(
        self, messages: Sequence[ChatMessage], tools: Sequence[Tool], prompt_tokens: int
    ) -> None:
        """Take what was added: by each picture, else by the template for tools or each message."""
        if n_shown := n_pictures(messages):
            added = prompt_tokens - self._spoken(messages, tools)
            self._for_picture.saw(added / n_shown)
        elif tools:
            self._for_tools.saw(prompt_tokens - self._framed(messages, tools))
        else:
            added = prompt_tokens - self._texts(messages, tools)
            self._for_each.saw(added / _n_parts(messages))

    def _spoken(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        """Return the tokens of all but the pictures."""
        framed = self._framed(messages, tools)
        return framed + self._for_tools.most if tools else framed

    def _framed(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        return self._texts(messages, tools) + self._for_each.most * _n_parts(messages)

    def _texts(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        return sum(map(self.text, texts_of(messages, tools)))


class Estimate:
    """Estimate from the bytes of texts, corrected by what answers cost."""

    n_tokens: int | None = None

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=KEPT)
        self._for_picture = Allowance(PICTURE_TOKENS)

    @property
    def rate(self) -> float:
        """Tokens for a byte."""
        return max(self._seen) * MARGIN if self._seen else FIRST_RATE

    def text(self, text: str) -> int:
        """Return the tokens of a text, rather too many than too few."""
        return ceil(len(text.encode("utf-8", "replace")) * self.rate)

    def prompt(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of a prompt, rather too many than too few."""
        pictures = self._for_picture.most * n_pictures(messages)
        return self._spoken(messages, tools) + pictures

    def learn(
        self, messages: Sequence[ChatMessage], tools: Sequence[Tool], prompt_tokens: int
    ) -> None:
        """Take how many tokens a byte of a prompt took, or each of its pictures."""
        if n_shown := n_pictures(messages):
            added = prompt_tokens - self._spoken(messages, tools) / 2
            self._for_picture.saw(added / n_shown)
            return
        n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts_of(messages, tools))
        if n_bytes >= LEAST_BYTES:
            # A token has at least a byte.
            self._seen.append(min(prompt_tokens / n_bytes, 1.0))

    def _spoken(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        texts = sum(map(self.text, texts_of(messages, tools)))
        return texts + TEMPLATE_TOKENS * _n_parts(messages) + (TOOLS_TOKENS if tools else 0)


def counter_of(endpoint: RemoteEndpoint) -> Counter:
    """
    Return what counts tokens for an endpoint; blocks while a tokenizer is downloaded.

    Raises
    ------
    ModelLoadError
        If its tokenizer cannot be had.
    """
    if endpoint.tokenizer is None:
        return Estimate()
    path = Path(endpoint.tokenizer).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            return Exact(Tokenizer.from_file(str(file)))
        return Exact(Tokenizer.from_pretrained(endpoint.tokenizer))
    except Exception as error:  # tokenizers raises nothing narrower
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelLoadError(
            f"`{endpoint.tokenizer}` is no tokenizer for the server `{endpoint.name}` ({first}): "
            "give a tokenizer.json, a folder with one or a Hugging Face id as `tokenizer` of the "
            "endpoint, or leave it out to have tokens estimated."
        ) from error


def _n_parts(messages: Sequence[ChatMessage]) -> int:
    """Return how often a template frames something: each message, and the prompt."""
    return len(messages) + 1
