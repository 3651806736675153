"""The facts of one owner that bear on a question."""

from uuid import UUID

from lab.context import best, role_meant
from lab.db import Stores
from lab.schemas.fact_hit import FactHit
from lab.schemas.role import Role
from lab.workflows.question import Question


async def find_facts(
    stores: Stores,
    question: Question,
    *,
    top_k: int,
    min_similarity: float = -1.0,
    conversation_id: UUID | None = None,
    history: bool = False,
) -> list[FactHit]:
    """
    Return the facts that bear on a question, best first.

    Parameters
    ----------
    stores : Stores
        Open, of the owner.
    question : Question
        What is asked; it is embedded only where there are facts.
    top_k : int
        Most facts to return.
    min_similarity : float
        Least cosine similarity of a fact that shares no word with the question.
    conversation_id : UUID, optional
        Look at what one chat told, as if there were no other.
    history : bool
        Look also among those that no longer hold.
    """
    if not await stores.facts.are_there():
        return []
    signals = await stores.facts.signals(
        question.text,
        await question.vector(),
        model=question.embedding.signature,
        about_user=role_meant(question.text) is Role.user,
        conversation_id=conversation_id,
        history=history,
    )
    nearest = best(signals, top_k=top_k, min_similarity=min_similarity)
    found = await stores.facts.some([signals.ids[one.place] for one in nearest], conversation_id)
    return [
        FactHit(fact=found[signals.ids[place]], score=score, similarity=similarity)
        for place, score, similarity in nearest
    ]
