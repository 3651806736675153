"""Recall: the turns of one owner, and of what others share, that bear on a question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from lab.context import alone, best, joined, role_meant
from lab.db import Stores
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.workflows.question import Question
from lab.workflows.shared_talk import NOTHING_SHARED, SharedTalk


class Ranked(NamedTuple):
    """A turn that was found, with its relevance and its cosine similarity, where that is known."""

    memory_id: UUID
    score: float
    similarity: float | None


@dataclass(frozen=True)
class Recalled:
    """
    What was found.

    Attributes
    ----------
    ranked : sequence of Ranked
        Best first, what others share among one's own.
    memories : mapping
        The turns, as far as they were read.
    n_waiting : int
        Memories of another embedding model, which were looked for by their words alone.
    names : mapping
        Login names of those who share what may be found, by their id.
    """

    ranked: Sequence[Ranked]
    memories: Mapping[UUID, Memory]
    n_waiting: int
    names: Mapping[UUID, str]

    @property
    def hits(self) -> list[MemoryHit]:
        """What was read, best first; the rest is another's, or was forgotten meanwhile."""
        return [
            MemoryHit(memory=self.memories[id], score=score, similarity=similarity)
            for id, score, similarity in self.ranked
            if id in self.memories
        ]

    def shared_by(self, hit: MemoryHit) -> str | None:
        """Return the login name of who shares a turn, where it is another's."""
        return self.names.get(hit.memory.owner_id)


async def recall(
    stores: Stores,
    question: Question,
    *,
    top_k: int,
    min_similarity: float = -1.0,
    neighbours: bool = True,
    conversation_id: UUID | None = None,
    excluded: Sequence[UUID] = (),
    shared: SharedTalk = NOTHING_SHARED,
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
        with those before it.
    neighbours : bool
        Let what was said around a turn speak for it.
    conversation_id : UUID, optional
        Look in one chat instead of all.
    excluded : sequence of UUID
        Messages that the caller has at hand already.
    shared : SharedTalk
        What of others is ranked among them; who asks reads it when this transaction is closed.
    """
    model = question.embedding.signature
    own = await stores.memories.signals(
        question.text,
        await question.vector(),
        model=model,
        role=role_meant(question.text),
        conversation_ids=None if conversation_id is None else [conversation_id],
        excluded=excluded,
        everywhere=shared.everywhere,
    )
    signals = joined([own, *shared.signals.values()])
    signals = signals if neighbours else alone(signals)
    ranked = [
        Ranked(signals.ids[place], score, similarity)
        for place, score, similarity in best(signals, top_k=top_k, min_similarity=min_similarity)
    ]
    return Recalled(
        ranked,
        await stores.memories.some([turn.memory_id for turn in ranked]),
        await stores.memories.n_waiting(model),
        shared.names,
    )
