"""Recall: the turns of one owner that bear on a question, best first."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from lab.context import best, relevance, role_meant
from lab.db import Stores
from lab.schemas.memory_hit import MemoryHit
from lab.workflows.question import Question


@dataclass(frozen=True)
class Recalled:
    """
    What was found.

    Attributes
    ----------
    hits : list of MemoryHit
        Best first.
    n_waiting : int
        Memories of another embedding model, which were looked for by their words alone.
    """

    hits: list[MemoryHit]
    n_waiting: int


async def recall(
    stores: Stores,
    question: Question,
    *,
    top_k: int,
    min_similarity: float = -1.0,
    conversation_id: UUID | None = None,
    excluded: Sequence[UUID] = (),
) -> Recalled:
    """
    Return the memories that bear on a question, best first.

    Parameters
    ----------
    stores : Stores
        Open, of the owner.
    question : Question
        What is asked.
    top_k : int
        Most hits to return.
    min_similarity : float
        Least cosine similarity of a turn that shares no word with the question, alone or together
        with what was said before it.
    conversation_id : UUID, optional
        Look in one chat instead of all.
    excluded : sequence of UUID
        Messages that the caller has at hand already.
    """
    model = question.embedding.signature
    signals = await stores.memories.signals(
        question.text,
        await question.vector(),
        model=model,
        role=role_meant(question.text),
        conversation_id=conversation_id,
        excluded=excluded,
    )
    score, similarity = relevance(signals), signals.similarity
    found = best(signals, score, top_k=top_k, min_similarity=min_similarity)
    memories = await stores.memories.some([signals.ids[i] for i in found])
    n_waiting = await stores.memories.n_waiting(model)
    hits = [
        MemoryHit(
            memory=memories[signals.ids[i]],
            score=float(score[i]),
            similarity=None if np.isnan(similarity[i]) else float(similarity[i]),
        )
        for i in found
    ]
    return Recalled(hits, n_waiting)
