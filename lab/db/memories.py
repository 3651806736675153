"""Turns that can be found again."""

import builtins
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from sqlalchemy import insert, select, text

from lab.db import recall
from lab.db.owned import OwnedStore
from lab.db.tables import MemoryContextRow, MemoryRow
from lab.errors import DimensionError, InputError
from lab.protocols import EMBEDDING_DIM, FloatArray, Signals
from lab.schemas.memory import Memory
from lab.schemas.message import Message
from lab.schemas.role import Role

_POST_TERMS = text(
    """
    INSERT INTO memory_terms (memory_id, term, owner_id, conversation_id, n_times, n_terms)
    SELECT :id, lexeme, :owner, :conversation, cardinality(positions),
        sum(cardinality(positions)) OVER ()
    FROM unnest(to_tsvector('english', left(:text, 200000)))
    """  # a longer text has more words than PostgreSQL counts
)


class MemoryStore(OwnedStore[Memory]):
    """Turns of one user with their embeddings and words."""

    kind = "memory"
    row = MemoryRow
    entity = Memory

    async def add(
        self,
        message: Message,
        text: str,
        embedding: FloatArray,
        context_embedding: FloatArray | None = None,
    ) -> Memory:
        """
        Make a stored message findable.

        Parameters
        ----------
        message : Message
            Where it was said.
        text : str
            What was said.
        embedding : array of shape (768,)
            Of the text.
        context_embedding : array of shape (768,), optional
            Of the text together with what was said before it; none where nothing was.
        """
        _check("embedding", embedding)
        memory = await self._insert(
            conversation_id=message.conversation_id,
            message_id=message.id,
            position=message.position,
            role=message.role,
            name=message.name,
            text=text,
            embedding=embedding,
            created_at=message.created_at,
        )
        await self._session.execute(
            _POST_TERMS,
            {
                "id": memory.id,
                "owner": self._owner_id,
                "conversation": memory.conversation_id,
                "text": text,
            },
        )
        if context_embedding is not None:
            _check("context_embedding", context_embedding)
            await self._session.execute(
                insert(MemoryContextRow).values(
                    memory_id=memory.id, owner_id=self._owner_id, embedding=context_embedding
                )
            )
        return memory

    async def list(
        self, limit: int = 100, before: UUID | None = None, conversation_id: UUID | None = None
    ) -> builtins.list[Memory]:
        """Return the newest memories first, of one chat or of all."""
        scope = [] if conversation_id is None else [MemoryRow.conversation_id == conversation_id]
        return await self._page(limit, before, *scope)

    async def last(self, conversation_id: UUID) -> Memory | None:
        """Return the newest memory of a chat."""
        row = await self._session.scalar(
            select(MemoryRow)
            .where(
                MemoryRow.owner_id == self._owner_id, MemoryRow.conversation_id == conversation_id
            )
            .order_by(MemoryRow.position.desc())
            .limit(1)
        )
        return None if row is None else self._checked(row)

    async def some(self, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        """Return the memories of those ids that there are."""
        rows = await self._session.scalars(
            select(MemoryRow).where(MemoryRow.owner_id == self._owner_id, MemoryRow.id.in_(ids))
        )
        return {row.id: self._checked(row) for row in rows}

    async def signals(
        self,
        question: str,
        query: FloatArray,
        *,
        role: Role | None = None,
        conversation_id: UUID | None = None,
        excluded: Sequence[UUID] = (),
    ) -> Signals:
        """
        Return what speaks for each turn that may answer a question.

        Parameters
        ----------
        question : str
            What is asked.
        query : array of shape (768,)
            Its embedding.
        role : Role, optional
            Whose words are asked for where the question names no speaker.
        conversation_id : UUID, optional
            Look in one chat instead of all.
        excluded : sequence of UUID
            Messages that the caller has at hand already.
        """
        _check("query", query)
        return await recall.signals(
            self._session,
            self._owner_id,
            question,
            query,
            role=role,
            conversation_id=conversation_id,
            excluded=excluded,
        )


def _check(name: str, vector: FloatArray) -> None:
    if vector.shape != (EMBEDDING_DIM,):
        raise DimensionError(name, vector.shape, str((EMBEDDING_DIM,)))
    if not (np.isfinite(vector).all() and vector.any()):
        raise InputError(f"The {name} has no direction: it is all zeros or holds NaN or infinity.")
