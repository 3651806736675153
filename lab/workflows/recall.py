"""Recall: the turns of one owner, and of what others share, that bear on a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from lab.context import alone, best, joined, relevance, role_meant
from lab.db import Database
from lab.protocols import EmbeddingPipeline
from lab.schemas.memory_hit import MemoryHit
from lab.workflows.shared_talk import SharedTalk, find_shared


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
    others : mapping
        Login names of those who share what may be among the hits, by their id.
    """

    hits: list[MemoryHit]
    n_waiting: int
    others: Mapping[UUID, str]


async def recall(
    database: Database,
    owner_id: UUID,
    embedding: EmbeddingPipeline,
    question: str,
    *,
    top_k: int,
    min_similarity: float = -1.0,
    neighbours: bool = True,
    conversation_id: UUID | None = None,
    excluded: Sequence[UUID] = (),
    shared: bool = False,
) -> Recalled:
    """
    Return the memories that bear on a question, best first.

    Parameters
    ----------
    database : Database
        Where they are.
    owner_id : UUID
        Whose they are.
    embedding : EmbeddingPipeline
        The one that made them findable.
    question : str
        What is asked.
    top_k : int
        Most hits to return.
    min_similarity : float
        Least cosine similarity of a turn that shares no word with the question, alone or together
        with those before it.
    neighbours : bool
        Let what was said around a turn speak for it.
    conversation_id : UUID, optional
        Look in one chat instead of all.
    excluded : sequence of UUID
        Messages that the caller has at hand already.
    shared : bool
        Look in what others share, too.
    """
    (query,) = await embedding.embed([question], kind="query")
    model = embedding.signature
    others = SharedTalk()
    if shared:  # before a session of one's own: who waits for a second one must hold none
        others = await find_shared(database, owner_id, question, query, model=model)
    async with database.stores(owner_id) as stores:
        own = await stores.memories.signals(
            question,
            query,
            model=model,
            role=role_meant(question),
            conversation_ids=None if conversation_id is None else [conversation_id],
            excluded=excluded,
            everywhere=others.everywhere,
        )
        signals = joined([own, *others.signals.values()])
        signals = signals if neighbours else alone(signals)
        score, similarity = relevance(signals), signals.similarity
        found = best(signals, score, top_k=top_k, min_similarity=min_similarity)
        ids = [signals.ids[i] for i in found]
        memories = await stores.memories.some(ids)
        n_waiting = await stores.memories.n_waiting(model)
    memories |= await others.memories(database, ids)
    hits = [
        MemoryHit(
            memory=memories[signals.ids[i]],
            score=float(score[i]),
            similarity=None if np.isnan(similarity[i]) else float(similarity[i]),
        )
        for i in found
        if signals.ids[i] in memories  # else it was forgotten meanwhile
    ]
    return Recalled(hits, n_waiting, others.names)
