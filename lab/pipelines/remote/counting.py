"""
How many tokens a prompt has that another server will read.

With a tokenizer the texts are counted exactly, and what the chat template adds to them is bounded
by what the answers' usage showed. Without one, tokens are estimated from bytes: at first half a
token for each, about twice what languages take, and then as many as the most of the last answers
took, and a tenth more. Both err on the high side: a window is left a little emptier, not overrun.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import Final, Protocol

from tokenizers import Tokenizer

from lab.errors import ModelLoadError
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

PICTURE_TOKENS: Final = 1500
"""What a picture is counted as: few models give one more."""

KEPT_TEXTS: Final = 4096


class Counter(Protocol):
    """Counts the tokens of a prompt."""

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
        self._for_each: deque[int] = deque(maxlen=KEPT)
        self._for_tools: deque[int] = deque(maxlen=KEPT)

    def prompt(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the texts, and the most that a template added to such a prompt."""
        n_tokens = self._without_tools(messages, tools)
        return n_tokens + max(self._for_tools, default=TOOLS_TOKENS) if tools else n_tokens

    def learn(
        self, messages: Sequence[ChatMessage], tools: Sequence[Tool], prompt_tokens: int
    ) -> None:
        """Take what a template added: to each message, and of tools once."""
        if tools:
            added = prompt_tokens - self._without_tools(messages, tools)
            self._for_tools.append(max(added, 0))
        else:
            added = prompt_tokens - self._texts(messages, tools)
            self._for_each.append(max(ceil(added / _n_parts(messages)), 0))

    def _without_tools(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        each = max(self._for_each, default=TEMPLATE_TOKENS)
        return self._texts(messages, tools) + each * _n_parts(messages)

    def _texts(self, messages: Sequence[ChatMessage], tools: Sequence[Tool]) -> int:
        texts = sum(map(self.text, texts_of(messages, tools)))
        return texts + PICTURE_TOKENS * sum(len(message.images) for message in messages)


class Estimate:
    """Estimate from the bytes of texts, corrected by what answers cost."""

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=KEPT)

    @property
    def rate(self) -> float:
        """Tokens for a byte."""
        return max(self._seen) * MARGIN if self._seen else FIRST_RATE

    def text(self, text: str) -> int:
        """Return the tokens of a text, rather too many than too few."""
        return ceil(len(text.encode("utf-8", "replace")) * self.rate)

    def prompt(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of a prompt, rather too many than too few."""
        texts = sum(map(self.text, texts_of(messages, tools)))
        pictures = PICTURE_TOKENS * sum(len(message.images) for message in messages)
        template = TEMPLATE_TOKENS * _n_parts(messages) + (TOOLS_TOKENS if tools else 0)
        return texts + pictures + template

    def learn(
        self, messages: Sequence[ChatMessage], tools: Sequence[Tool], prompt_tokens: int
    ) -> None:
        """Take how many tokens a byte of a prompt took."""
        n_bytes = sum(len(text.encode("utf-8", "replace")) for text in texts_of(messages, tools))
        if n_bytes >= LEAST_BYTES:
            # A token has at least a byte.
            self._seen.append(min(prompt_tokens / n_bytes, 1.0))


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
