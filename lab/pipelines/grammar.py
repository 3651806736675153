"""Compile JSON Schemas for one tokenizer, and keep them."""

from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import llguidance
import llguidance.hf
from llguidance import LLMatcher, LLTokenizer
from transformers import PreTrainedTokenizerBase

from lab.errors import InputError
from lab.pipelines.compiling import compiled, written

KEPT_GRAMMARS = 64
"""Compiled schemas of this many recent requests are kept."""


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
        return written(schema, self._kept).deep_copy()

    def _compiled(self, text: str) -> LLMatcher:
        with self._lock:
            tokenizer = self._vocabulary
        return compiled(text, tokenizer)

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
