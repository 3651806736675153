"""Turns that can be found again."""

import builtins
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    UnaryExpression,
    delete,
    func,
    or_,
    select,
    text,
    union,
    update,
)
from sqlalchemy.dialects import postgresql

from lab.db import recall
from lab.db.owned import OwnedStore
from lab.db.summaries import SummaryStore, lock
from lab.db.tables import MemoryContextRow, MemoryRow, MemoryTermRow
from lab.db.vectors import check_vector
from lab.protocols import CONTEXT_TURNS, FloatArray, Signals
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
    changeable = frozenset({"text", "embedding", "embedding_model"})

    async def add(
        self,
        message: Message,
        text: str,
        embedding: FloatArray,
        context_embedding: FloatArray | None = None,
        *,
        model: str,
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
            Of the text together with those before it; none where it is the first.
        model : str
            Signature of the model that made them.
        """
        check_vector("embedding", embedding)
        memory = await self._insert(
            conversation_id=message.conversation_id,
            message_id=message.id,
            position=message.position,
            role=message.role,
            name=message.name,
            text=text,
            embedding=embedding,
            embedding_model=model,
            created_at=message.created_at,
        )
        await self._post_terms(memory)
        if context_embedding is not None:
            await self.set_context(memory.id, context_embedding, model=model)
        return memory

    async def replace(self, id: UUID, text: str, embedding: FloatArray, *, model: str) -> Memory:
        """
        Put another text and its embedding, of shape (768,), in the place of a memory's.

        `model` is the signature of the one that made the embedding.

        What was embedded together with the former text stays: `set_context` replaces it. Summaries
        that tell of it are deleted.
        """
        check_vector("embedding", embedding)
        await lock(self._session, self._owner_id, (await self.get(id)).conversation_id)
        fields = {"text": text, "embedding": embedding, "embedding_model": model}
        memory = await self._update(id, fields)
        await self._session.execute(delete(MemoryTermRow).where(MemoryTermRow.memory_id == id))
        await self._post_terms(memory)
        await self._summaries.drop(memory.conversation_id, memory.position)
        return memory

    async def set_context(self, id: UUID, embedding: FloatArray, *, model: str) -> None:
        """Keep the embedding (768,), made by a model, of a memory with those before it."""
        check_vector("context_embedding", embedding)
        statement = postgresql.insert(MemoryContextRow).values(
            memory_id=id, owner_id=self._owner_id, embedding=embedding, embedding_model=model
        )
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[MemoryContextRow.memory_id],
                set_={"embedding": statement.excluded.embedding, "embedding_model": model},
            )
        )

    async def drop_context(self, id: UUID) -> None:
        """Delete the embedding of a memory with those before it."""
        await self._session.execute(
            delete(MemoryContextRow).where(
                MemoryContextRow.memory_id == id, MemoryContextRow.owner_id == self._owner_id
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

        That are the embeddings of the turns after it together with it, and every summary that tells
        of it; call it after `lock` and after the turn is deleted.
        """
        for memory in await self.after(conversation_id, position, most=CONTEXT_TURNS):
            await self.drop_context(memory.id)
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

    async def before(
        self, conversation_id: UUID, position: int | None = None, *, most: int
    ) -> builtins.list[Memory]:
        """Return the last memories of a chat before a position, or of all, the first said first."""
        earlier = [] if position is None else [MemoryRow.position < position]
        order = MemoryRow.position.desc()
        return (await self._next_to(conversation_id, order, most, *earlier))[::-1]

    async def after(
        self, conversation_id: UUID, position: int, *, most: int
    ) -> builtins.list[Memory]:
        """Return the first memories of a chat after a position, the first said first."""
        order = MemoryRow.position.asc()
        return await self._next_to(conversation_id, order, most, MemoryRow.position > position)

    async def some(self, ids: Sequence[UUID], *, held: bool = False) -> dict[UUID, Memory]:
        """Return the memories of those ids that there are; none changes meanwhile when held."""
        query = select(MemoryRow).where(MemoryRow.owner_id == self._owner_id, MemoryRow.id.in_(ids))
        if held:
            query = query.order_by(MemoryRow.id).with_for_update(key_share=True)
        return {row.id: self._checked(row) for row in await self._session.scalars(query)}

    async def waiting(self, model: str) -> builtins.list[UUID]:
        """Return the memories that another model embedded, alone or with those before."""
        alone = select(MemoryRow.id.label("id")).where(*self._embedded_otherwise(MemoryRow, model))
        together = select(MemoryContextRow.memory_id).where(
            *self._embedded_otherwise(MemoryContextRow, model)
        )
        return list(await self._session.scalars(union(alone, together).order_by("id")))

    async def n_waiting(self, model: str) -> int:
        """Return how many memories another model embedded."""
        other = self._embedded_otherwise(MemoryRow, model)
        return await self._session.scalar(select(func.count()).where(*other)) or 0

    async def renew(self, id: UUID, embedding: FloatArray, *, model: str) -> None:
        """Put the embedding (768,) by another model of the same text in the place of a memory's."""
        check_vector("embedding", embedding)
        await self._update(id, {"embedding": embedding, "embedding_model": model})

    async def renew_context(self, id: UUID, embedding: FloatArray, *, model: str) -> None:
        """Do so for the embedding with those before it, unless one of them was forgotten."""
        check_vector("context_embedding", embedding)
        await self._session.execute(
            update(MemoryContextRow)
            .where(MemoryContextRow.memory_id == id, MemoryContextRow.owner_id == self._owner_id)
            .values(embedding=embedding, embedding_model=model)
        )

    async def signals(
        self,
        question: str,
        query: FloatArray,
        *,
        model: str,
        role: Role | None = None,
        conversation_ids: Sequence[UUID] | None = None,
        excluded: Sequence[UUID] = (),
        everywhere: recall.Commonness | None = None,
    ) -> Signals:
        """
        Return what speaks for each turn that may answer a question.

        Parameters
        ----------
        question : str
            What is asked.
        query : array of shape (768,)
            Its embedding.
        model : str
            Signature of the model that made it.
        role : Role, optional
            Whose words are asked for where the question names no speaker.
        conversation_ids : sequence of UUID, optional
            Look in these chats instead of all.
        excluded : sequence of UUID
            Messages that the caller has at hand already.
        everywhere : Commonness, optional
            How common the question's words are, where more is searched than this.
        """
        check_vector("query", query)
        return await recall.signals(
            self._session,
            self._owner_id,
            question,
            query,
            model=model,
            role=role,
            conversation_ids=conversation_ids,
            excluded=excluded,
            everywhere=everywhere,
        )

    @property
    def _summaries(self) -> SummaryStore:
        return SummaryStore(self._session, self._owner_id)

    def _embedded_otherwise(
        self, row: type[MemoryRow | MemoryContextRow], model: str
    ) -> tuple[ColumnElement[bool], ...]:
        # Both sides of the name and none: an index finds these, and serves no "is distinct from".
        names = row.embedding_model
        return row.owner_id == self._owner_id, or_(names < model, names > model, names.is_(None))

    async def _next_to(
        self,
        conversation_id: UUID,
        order: UnaryExpression[int],
        most: int,
        *conditions: ColumnElement[bool],
    ) -> builtins.list[Memory]:
        rows = await self._session.scalars(
            select(MemoryRow)
            .where(
                MemoryRow.owner_id == self._owner_id,
                MemoryRow.conversation_id == conversation_id,
                *conditions,
            )
            .order_by(order)
            .limit(most)
        )
        return [self._checked(row) for row in rows]

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
