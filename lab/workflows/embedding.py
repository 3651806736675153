"""A text as the passages that it is found by."""

import asyncio
from collections.abc import Sequence
from typing import Final

import numpy as np

from lab.context import cut
from lab.protocols import EmbeddingPipeline, FloatArray, Passage

EMBEDDED_AT_ONCE: Final = 256
"""Passages that are handed to the embedding model together."""


async def embed_passages(
    embedding: EmbeddingPipeline, text: str, chunk_tokens: int, pages: Sequence[int] = ()
) -> tuple[list[Passage], FloatArray]:
    """
    Return the N passages of a text, and vectors of shape (N, 768).

    Parameters
    ----------
    embedding : EmbeddingPipeline
        Counts their tokens and embeds them, batch by batch, so that others come between.
    text : str
        All of it.
    chunk_tokens : int
        Most tokens of a passage.
    pages : sequence of int
        Where each page begins in the text, where it has pages.
    """
    passages = await asyncio.to_thread(
        cut, text, embedding.token_counts, most_tokens=chunk_tokens, pages=pages
    )
    texts = [passage.text for passage in passages]
    parts = [
        await embedding.embed(texts[first : first + EMBEDDED_AT_ONCE])
        for first in range(0, len(texts), EMBEDDED_AT_ONCE)
    ]
    return passages, np.concatenate(parts)
