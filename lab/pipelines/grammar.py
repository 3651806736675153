"""Compile JSON Schemas for one tokenizer, and keep them."""

import json
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import llguidance
import llguidance.hf
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from transformers import PreTrainedTokenizerBase

from lab.errors import InputError
from lab.pipelines.json_schema import MOST_CHARACTERS, MOST_SHOWN, check_ends, check_schema, refused

KEPT_GRAMMARS = 64
"""Compiled schemas of this many recent requests are kept."""

SPACE = r"[ \t\n\r]{0,30}"
"""White space between two parts: some, as writers indent, never without end."""

ESCAPES, PATTERNED_ESCAPES = '"\\bfnrt', "bfnrt"
"""Every character is written in one way, so that no key is another one in disguise."""


class Grammars:
    """
    The schemas that answers of one model are held to.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerBase
        Of the model; it must have a backend of `tokenizers`.
    n_tokens : int
        Width of the model's logits.
    end_ids : frozenset of int
        Tokens that end an answer.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, n_tokens: int, end_ids: frozenset[int]
    ) -> None:
        self._tokenizer = tokenizer
        self._n_tokens = n_tokens
        self._end_ids = end_ids
        self._lock = Lock()
        self._kept = lru_cache(KEPT_GRAMMARS)(self._compiled)

    def matcher(self, schema: Any) -> LLMatcher:
        """
        Return a matcher at the beginning of an answer; takes up to a second, without the GIL.

        Raises
        ------
        InputError
            If the schema cannot be enforced, or nothing satisfies it.
        """
        if schema is False:
            raise refused("the schema is false")
        try:
            text = json.dumps({} if schema is True else schema)
            if len(text) > MOST_CHARACTERS:
                raise refused("it is too long", f"{len(text)} characters of {MOST_CHARACTERS}")
            return self._kept(text).deep_copy()
        except RecursionError:
            raise refused("it is too deep") from None

    def _compiled(self, text: str) -> LLMatcher:
        schema = json.loads(text)
        escapes = PATTERNED_ESCAPES if check_schema(schema) else ESCAPES
        with self._lock:
            tokenizer = self._vocabulary
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                text, overrides={"whitespace_pattern": SPACE, "json_allowed_escapes": escapes}
            )
        except ValueError as error:  # it reads no more than 128 levels of JSON
            raise refused(_short(str(error))) from None
        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
        _check(matcher)
        check_ends(schema)
        matcher.compute_bitmask()
        _check(matcher)
        matcher.reset()
        return matcher

    @cached_property
    def _vocabulary(self) -> LLTokenizer:
        """The tokenizer as the library takes it; made when first needed, in up to a second."""
        try:
            return llguidance.hf.from_tokenizer(
                self._tokenizer, n_vocab=self._n_tokens, eos_token=sorted(self._end_ids)
            )
        except ValueError as error:
            raise InputError(
                "This model's answers cannot be held to a format: its tokenizer has no fast form."
            ) from error


def _check(matcher: LLMatcher) -> None:
    """Raise `InputError` for what the library cannot enforce."""
    problems = [matcher.get_error()] if matcher.is_error() else matcher.get_grammar_warnings()
    if problems:
        raise refused(_short(problems[0]))


def _short(message: str) -> str:
    """Return the first and the last line of what the library says, without what is between."""
    lines = message.strip().splitlines()
    return " ".join(dict.fromkeys([lines[0], lines[-1]]))[:MOST_SHOWN].rstrip(".")
