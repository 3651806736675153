"""Search the history that a stateless caller sends."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lab.context import Candidate
from lab.protocols import EmbeddingPipeline, FloatArray


class GivenHistorySearch:
    """
    Find turns by meaning without storing them.

    A client sends the same history again with every turn, so the vectors of recent texts are kept.

    Parameters
    ----------
    size : int
        Vectors to keep; each takes 3 KiB.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._vectors: OrderedDict[str, FloatArray] = OrderedDict()
        self._lock = asyncio.Lock()

    async def __call__(
        self,
        turns: Sequence[Candidate],
        question: str,
        embedding: EmbeddingPipeline,
        *,
        top_k: int,
    ) -> list[Candidate]:
        """Return the turns nearest in meaning to the question, best first."""
        said = [turn for turn in turns if turn.text]
        if not said:
            return []
        (query,) = await embedding.embed([question], kind="query")
        async with self._lock:
            scores = await self._embed([turn.text for turn in said], embedding) @ query
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [replace(said[i], score=float(scores[i])) for i in best]

    async def _embed(self, texts: Sequence[str], embedding: EmbeddingPipeline) -> FloatArray:
        """Return vectors of shape (N, D)."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if missing:
            self._vectors.update(zip(missing, await embedding.embed(missing), strict=True))
        for text in texts:
            self._vectors.move_to_end(text)
        found = np.stack([self._vectors[text] for text in texts])
        while len(self._vectors) > self._size:
            self._vectors.popitem(last=False)
        return found
