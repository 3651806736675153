"""Turns that can be found again by meaning."""

import builtins
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from sqlalchemy import select

from lab.db.owned import OwnedStore
from lab.db.tables import MemoryRow
from lab.errors import DimensionError, InputError
from lab.protocols import EMBEDDING_DIM, FloatArray
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.message import Message


class MemoryStore(OwnedStore[Memory]):
    """Turns of one user with their embeddings, searched exactly by cosine similarity."""

    kind = "memory"
    row = MemoryRow
    entity = Memory

    async def add(self, message: Message, text: str, embedding: FloatArray) -> Memory:
        """Make a stored message findable by its (768,) embedding."""
        _check("embedding", embedding)
        return await self._insert(
            conversation_id=message.conversation_id,
            message_id=message.id,
            role=message.role,
            text=text,
            embedding=embedding,
            created_at=message.created_at,
        )

    async def list(
        self, limit: int = 100, before: UUID | None = None, conversation_id: UUID | None = None
    ) -> builtins.list[Memory]:
        """Return the newest memories first, of one chat or of all."""
        scope = [] if conversation_id is None else [MemoryRow.conversation_id == conversation_id]
        return await self._page(limit, before, *scope)

    async def search(
        self,
        query: FloatArray,
        top_k: int,
        conversation_id: UUID | None = None,
        exclude_message_ids: Sequence[UUID] = (),
    ) -> builtins.list[MemoryHit]:
        """
        Return the memories nearest to a query, nearest first.

        Parameters
        ----------
        query : array of shape (768,)
            Embedding of the question.
        top_k : int
            Most hits to return.
        conversation_id : UUID, optional
            Search one chat instead of all.
        exclude_message_ids : sequence of UUID
            Messages that the caller has at hand already.
        """
        _check("query", query)
        distance = MemoryRow.embedding.cosine_distance(query)
        statement = select(MemoryRow, distance).where(MemoryRow.owner_id == self._owner_id)
        if conversation_id is not None:
            statement = statement.where(MemoryRow.conversation_id == conversation_id)
        if exclude_message_ids:
            statement = statement.where(MemoryRow.message_id.not_in(exclude_message_ids))
        found = await self._session.execute(statement.order_by(distance, MemoryRow.id).limit(top_k))
        return [
            MemoryHit(memory=Memory.model_validate(row, from_attributes=True), score=1 - d)
            for row, d in found
        ]


def _check(name: str, vector: FloatArray) -> None:
    if vector.shape != (EMBEDDING_DIM,):
        raise DimensionError(name, vector.shape, str((EMBEDDING_DIM,)))
    if not (np.isfinite(vector).all() and vector.any()):
        raise InputError(f"The {name} has no direction: it is all zeros or holds NaN or infinity.")
