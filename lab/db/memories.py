"""Turns that can be found again."""

import builtins
from collections.abc import Sequence
from uuid import UUID

import numpy as np
from sqlalchemy import ColumnElement, UnaryExpression, delete, select, text
from sqlalchemy.dialects import postgresql

from lab.db import recall
from lab.db.owned import OwnedStore
from lab.db.summaries import SummaryStore, lock
from lab.db.tables import MemoryContextRow, MemoryRow, MemoryTermRow
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
    changeable = frozenset({"text", "embedding"})

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
        await self._post_terms(memory)
        if context_embedding is not None:
            await self.set_context(memory.id, context_embedding)
        return memory

    async def replace(self, id: UUID, text: str, embedding: FloatArray) -> Memory:
        """
        Put another text and its embedding, of shape (768,), in the place of a memory's.

        What was embedded together with the former text stays: `set_context` replaces it. Summaries
        that tell of it are deleted.
        """
        _check("embedding", embedding)
        await lock(self._session, self._owner_id, (await self.get(id)).conversation_id)
        memory = await self._update(id, {"text": text, "embedding": embedding})
        await self._session.execute(delete(MemoryTermRow).where(MemoryTermRow.memory_id == id))
        await self._post_terms(memory)
        await self._summaries.drop(memory.conversation_id, memory.position)
        return memory

    async def set_context(self, id: UUID, embedding: FloatArray | None) -> None:
        """Keep the embedding (768,) of a memory with what was said before it, or none."""
        if embedding is None:
            await self._session.execute(
                delete(MemoryContextRow).where(
                    MemoryContextRow.memory_id == id, MemoryContextRow.owner_id == self._owner_id
                )
            )
            return
        _check("context_embedding", embedding)
        statement = postgresql.insert(MemoryContextRow).values(
            memory_id=id, owner_id=self._owner_id, embedding=embedding
        )
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[MemoryContextRow.memory_id],
                set_={"embedding": statement.excluded.embedding},
            )
        )

    async def delete(self, id: UUID) -> None:
        """Delete a memory, also from what was made of it together with others."""
        memory = await self.get(id)
        await lock(self._session, self._owner_id, memory.conversation_id)
        await super().delete(id)
        await self.drop_what_tells_of(memory.conversation_id, memory.position)

    async def drop_what_tells_of(self, conversation_id: UUID, position: int) -> None:
        """
        Delete what was made of a forgotten turn together with others.

        That is the embedding of the turn after it, and every summary that tells of it; call it
        after `lock` and after the turn is deleted.
        """
        if after := await self.after(conversation_id, position):
            await self.set_context(after.id, None)
        await self._summaries.drop(conversation_id, position)

    async def delete_all(self, conversation_id: UUID | None = None) -> None:
        """Delete the memories of one chat, or all, and the summaries of them."""
        await lock(self._session, self._owner_id, conversation_id)
        scope = [] if conversation_id is None else [MemoryRow.conversation_id == conversation_id]
        await self._session.execute(
            delete(MemoryRow).where(MemoryRow.owner_id == self._owner_id, *scope)
        )
        await self._summaries.drop_all(conversation_id)

    async def list(
        self, limit: int = 100, before: UUID | None = None, conversation_id: UUID | None = None
    ) -> builtins.list[Memory]:
        """Return the newest memories first, of one chat or of all."""
        scope = [] if conversation_id is None else [MemoryRow.conversation_id == conversation_id]
        return await self._page(limit, before, *scope)

    async def before(self, conversation_id: UUID, position: int | None = None) -> Memory | None:
        """Return the last memory of a chat before a position, or the last of all."""
        earlier = [] if position is None else [MemoryRow.position < position]
        return await self._first(conversation_id, MemoryRow.position.desc(), *earlier)

    async def after(self, conversation_id: UUID, position: int) -> Memory | None:
        """Return the first memory of a chat after a position."""
        return await self._first(
            conversation_id, MemoryRow.position.asc(), MemoryRow.position > position
        )

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

    @property
    def _summaries(self) -> SummaryStore:
        return SummaryStore(self._session, self._owner_id)

    async def _first(
        self, conversation_id: UUID, order: UnaryExpression[int], *conditions: ColumnElement[bool]
    ) -> Memory | None:
        row = await self._session.scalar(
            select(MemoryRow)
            .where(
                MemoryRow.owner_id == self._owner_id,
                MemoryRow.conversation_id == conversation_id,
                *conditions,
            )
            .order_by(order)
            .limit(1)
        )
        return None if row is None else self._checked(row)

    async def _post_terms(self, memory: Memory) -> None:
        await self._session.execute(
            _POST_TERMS,
            {
                "id": memory.id,
                "owner": self._owner_id,
                "conversation": memory.conversation_id,
                "text": memory.text,
            },
        )


def _check(name: str, vector: FloatArray) -> None:
    if vector.shape != (EMBEDDING_DIM,):
        raise DimensionError(name, vector.shape, str((EMBEDDING_DIM,)))
    if not (np.isfinite(vector).all() and vector.any()):
        raise InputError(f"The {name} has no direction: it is all zeros or holds NaN or infinity.")
