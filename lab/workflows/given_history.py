"""Search the history that a stateless caller sends, as stored turns are searched."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lab.context import Candidate, alone, best, role_meant, shared_words, words_of
from lab.protocols import EmbeddingPipeline, FloatArray, Signals
from lab.workflows.question import Question


class GivenHistorySearch:
    """
    Find turns without storing them.

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
        question: Question,
        *,
        top_k: int,
        min_similarity: float,
        neighbours: bool,
    ) -> list[Candidate]:
        """Return the turns that bear on the question, best first."""
        said = [turn for turn in turns if turn.text]
        if not said:
            return []
        query = await question.vector()
        async with self._lock:
            vectors = await self._embed([turn.text for turn in said], question.embedding)
        signals = _signals(said, question.text, vectors @ query)
        signals = signals if neighbours else alone(signals)
        found = best(signals, top_k=top_k, min_similarity=min_similarity)
        return [replace(said[one.place], score=one.score) for one in found]

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


def _signals(turns: Sequence[Candidate], question: str, similarity: FloatArray) -> Signals:
    """Return what speaks for turns that no database has seen."""
    asked = words_of(question)
    names = {turn.message.name.casefold() for turn in turns if turn.message.name} & set(asked)
    one_sitting = np.zeros(len(turns), dtype=np.int64)
    return Signals(
        ids=[],
        chat=one_sitting,
        position=np.array([turn.position for turn in turns], dtype=np.int64),
        day=one_sitting,
        words=shared_words(
            [word for word in asked if word not in names], [words_of(turn.text) for turn in turns]
        ),
        similarity=similarity,
        context_similarity=np.full_like(similarity, np.nan),
        spoken=np.array(
            [
                (turn.message.name or "").casefold() in names
                if names
                else turn.message.role is role_meant(question)
                for turn in turns
            ]
        ),
    )
