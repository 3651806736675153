"""
Watch an answer while it is written, and stop it where the model runs in circles.

Each guard looks at what cannot go on for ever in an answer that is worth reading; the defaults of
`GuardsConfig` are far from what people and models write on purpose.
"""

import math
import re
from collections import deque

import numpy as np

from lab.schemas.guard import Guard
from lab.schemas.guards_config import GuardsConfig

LONGEST_PASSAGE, LEAST_REPEATED = 256, 256
"""Tokens of a passage that repeats, and of all its repetitions."""

SURPRISE_EVERY, SURPRISES = 4, 32
"""Every fourth token is looked at; this many of them are judged together."""

WORD = re.compile(r"\w+|[^\w\s]")
"""A word, or a mark between words, which ends a stutter."""


class Watch:
    """
    The guards of one answer.

    Parameters
    ----------
    config : GuardsConfig
        When they stop it.
    n_tokens : int
        Tokens of the vocabulary.
    is_json : bool
        The answer is held to a format: its lists are watched, and its surprise is not, since what
        the format forces may be unlikely.
    is_drawn : bool
        Tokens are drawn at random: only then surprise can run away.
    """

    def __init__(
        self, config: GuardsConfig, *, n_tokens: int, is_json: bool, is_drawn: bool
    ) -> None:
        self._cycles = Cycles(config.repetition) if config.repetition else None
        self._words = Words(config.stutter) if config.stutter and not is_json else None
        self._elements = Elements(config.json_loop) if config.json_loop and is_json else None
        listens = config.perplexity > 0 and is_drawn and not is_json
        self._surprise = Surprise(config.perplexity * math.log(n_tokens)) if listens else None
        self._n_seen = 0

    @property
    def listens(self) -> bool:
        """Whether it wants to know how likely the next token was."""
        return self._surprise is not None and self._n_seen % SURPRISE_EVERY == 0

    def take(self, token: int, text: str, logprob: float | None) -> Guard | None:
        """Take the next token and the text that it completed; return the guard that stops here."""
        self._n_seen += 1
        if self._elements and self._elements.take(text):
            return Guard.json_loop
        if self._words and self._words.take(text):
            return Guard.stutter
        if self._cycles and self._cycles.take(token):
            return Guard.repetition
        if self._surprise and logprob is not None and self._surprise.take(-logprob):
            return Guard.perplexity
        return None


class Cycles:
    """Find a passage that comes `n_times` in a row at the end of what was written."""

    def __init__(self, n_times: int) -> None:
        lengths = np.arange(1, LONGEST_PASSAGE + 1)
        self._wanted = np.maximum(n_times * lengths, LEAST_REPEATED) - lengths
        self._matches = np.zeros(LONGEST_PASSAGE, np.int64)  # in a row, with the token before
        self._past = np.full(LONGEST_PASSAGE, -1, np.int64)  # the last tokens, as a ring
        self._place = 0

    def take(self, token: int) -> bool:
        """Take the next token; return True where it ends the last repetition."""
        newest_first = np.concatenate(
            (self._past[: self._place][::-1], self._past[self._place :][::-1])
        )
        self._matches += 1
        self._matches[newest_first != token] = 0
        self._past[self._place] = token
        self._place = (self._place + 1) % LONGEST_PASSAGE
        return bool((self._matches >= self._wanted).any())


class Words:
    """Find the same word `n_times` in a row with nothing but white space between."""

    def __init__(self, n_times: int) -> None:
        self._n_times = n_times
        self._begun = ""  # a word that may go on
        self._last = ""
        self._n_same = 0

    def take(self, text: str) -> bool:
        """Take the next text; return True where a word came too often."""
        text = self._begun + text
        found = WORD.findall(text)
        ends_in_word = bool(found) and text.endswith(found[-1])
        self._begun = found.pop() if ends_in_word else ""
        for word in found:
            self._n_same = self._n_same + 1 if word == self._last else 1
            self._last = word
            if self._n_same >= self._n_times and word.isalpha():
                return True
        return False


class Surprise:
    """Find a mean surprise above some nats."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._seen: deque[float] = deque(maxlen=SURPRISES)

    def take(self, surprise: float) -> bool:
        """Take the surprise of a token; return True where the last ones are too high."""
        self._seen.append(surprise)
        return len(self._seen) == SURPRISES and sum(self._seen) > self._limit * SURPRISES


class Elements:
    """Find a list with the same element `n_times` in a row, or nesting as deep, in JSON."""

    def __init__(self, n_times: int) -> None:
        self._n_times = n_times
        self._open: list[_Open] = []
        self._in_string = self._escaped = False

    def take(self, text: str) -> bool:
        """Take the next text; return True where it goes round in circles."""
        return any([self._take(character) for character in text])

    def _take(self, character: str) -> bool:
        if self._in_string:
            self._add(character)
            self._in_string = self._escaped or character != '"'
            self._escaped = character == "\\" and not self._escaped
            return False
        if character in "[{":
            self._open.append(_Open())
            return len(self._open) >= self._n_times
        if character in "]}" and self._open:
            closed = self._open.pop()
            self._add(f"{closed.before}{closed.element}{character}")
            return False
        if character == "," and self._open:
            return self._open[-1].end() >= self._n_times
        self._in_string = character == '"'
        if not character.isspace():
            self._add(character)
        return False

    def _add(self, text: str) -> None:
        if self._open:
            self._open[-1].element += text


class _Open:
    """A list or object that is not closed yet."""

    def __init__(self) -> None:
        self.element = ""
        self.before = ""  # what stands for the elements before, to compare the whole with others
        self._last = ""
        self._n_same = 0

    def end(self) -> int:
        """End an element; return how many like it came in a row."""
        self._n_same = self._n_same + 1 if self.element == self._last else 1
        self._last, self.element = self.element, ""
        self.before = str(hash((self.before, self._last)))
        return self._n_same
