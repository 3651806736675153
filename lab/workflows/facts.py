"""The facts of one owner: read from what was said, found again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np

from lab.context import best, relevance, role_meant
from lab.db import Database
from lab.db.facts import Statement
from lab.messages import transcript
from lab.prompts import FACTS_INSTRUCTION, KNOWN_INSTRUCTION
from lab.protocols import ChatPipeline, EmbeddingPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.fact_hit import FactHit
from lab.schemas.memory import Memory
from lab.schemas.role import Role
from lab.schemas.usage import Usage
from lab.workflows.statements import in_answer, in_sentences
from lab.workflows.summary import answered

MOST_KNOWN: Final = 20
"""Things known already that a model is told of, so that it names them alike."""


@dataclass(frozen=True)
class Extracted:
    """
    The facts of some messages.

    Attributes
    ----------
    statements : sequence of Statement
        In the order in which they were told.
    usage : sequence of Usage
        What each answer of the model cost that it took.
    """

    statements: Sequence[Statement]
    usage: Sequence[Usage] = ()


async def extract(
    chat: ChatPipeline, memories: Sequence[Memory], summary: str, known: Sequence[str]
) -> Extracted:
    """
    Return the facts that messages tell.

    Parameters
    ----------
    chat : ChatPipeline
        Who reads them. A model made to demonstrate wrote them down as the summary already.
    memories : sequence of Memory
        The messages, the earliest first.
    summary : str
        What the model wrote of them.
    known : sequence of str
        What facts that may be of the same are about.
    """
    if chat.model.is_demo:
        return Extracted(in_sentences(summary))
    names = "\n".join(f"- {about}" for about in known)
    instruction = FACTS_INSTRUCTION + (KNOWN_INSTRUCTION + names if known else "")
    written = await answered(chat, instruction, [_dated(memory) for memory in memories])
    return Extracted(in_answer(written.text), written.usage)


class Facts:
    """
    Facts of one owner.

    Parameters
    ----------
    database : Database
        Where they are.
    owner_id : UUID
        Whose they are.
    embedding : EmbeddingPipeline
        Makes them findable.
    """

    def __init__(self, database: Database, owner_id: UUID, embedding: EmbeddingPipeline) -> None:
        self._database = database
        self._owner_id = owner_id
        self._embedding = embedding

    async def find(
        self,
        question: str,
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
        question : str
            What is asked.
        top_k : int
            Most facts to return.
        min_similarity : float
            Least cosine similarity of a fact that shares no word with the question.
        conversation_id : UUID, optional
            Look at what one chat told, as if there were no other.
        history : bool
            Look also among those that no longer hold.
        """
        async with self._database.stores(self._owner_id) as stores:
            if not await stores.facts.are_there():
                return []
        (query,) = await self._embedding.embed([question], kind="query")
        async with self._database.stores(self._owner_id) as stores:
            signals = await stores.facts.signals(
                _in_third_person(question),
                query,
                model=self._embedding.signature,
                conversation_id=conversation_id,
                history=history,
            )
            score, similarity = relevance(signals), signals.similarity
            nearest = best(signals, score, top_k=top_k, min_similarity=min_similarity)
            found = await stores.facts.some([signals.ids[i] for i in nearest], conversation_id)
        return [
            FactHit(
                fact=found[signals.ids[i]],
                score=float(score[i]),
                similarity=None if np.isnan(similarity[i]) else float(similarity[i]),
            )
            for i in nearest
        ]


def _in_third_person(question: str) -> str:
    """
    Return a question with the word by which facts call the one who asks.

    >>> _in_third_person("Where do I live?"), _in_third_person("Where does Ann live?")
    ('Where do I live? user', 'Where does Ann live?')
    """
    return f"{question} user" if role_meant(question) is Role.user else question


def _dated(memory: Memory) -> str:
    message = ChatMessage(role=memory.role, name=memory.name, content=memory.text)
    return f"{memory.created_at:%Y-%m-%d} {transcript([message])}"
