"""
What conversations told, statement by statement, and how long each held.

How long is not stored: of two facts about the same the later one holds, so what is deleted leaves
what it had taken the place of holding again.
"""

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import numpy as np
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    ColumnElement,
    Select,
    TextClause,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import aliased

from lab.db.owned import OwnedStore
from lab.db.tables import FactRow, MemoryRow, SummarySourceRow
from lab.db.vectors import check_vector, check_vectors
from lab.db.word_scores import word_scores, words_asked
from lab.protocols import EMBEDDING_DIM, FloatArray, Signals
from lab.schemas.fact import Fact
from lab.schemas.memory import Memory
from lab.schemas.summary import Summary

SEEDS: Final = 100
"""Facts of each kind that a search looks up: by words, and by meaning."""
_ORDER = "said_at DESC, last_position DESC, position DESC, id DESC"


@dataclass(frozen=True)
class Statement:
    """A fact before it is stored."""

    about: str
    """What it is about, up to 200 characters."""

    text: str
    """All of it, up to 1,000."""


def key_of(about: str) -> str:
    """
    Return an `about` as it is compared.

    >>> key_of("The user's  DOG is called")
    "the user's dog is called"
    """
    return " ".join(about.split()).casefold()


class FactStore(OwnedStore[Fact]):
    """Facts of one user's chats, each with the summary that it was written with."""

    kind = "fact"
    row = FactRow
    entity = Fact

    async def add(
        self,
        summary: Summary,
        statements: Sequence[Statement],
        embeddings: FloatArray,
        *,
        model: str,
    ) -> None:
        """
        Store what a summary of level 1 told, in the place of what it told before.

        Call it in the transaction that stores the summary.

        Parameters
        ----------
        summary : Summary
            With which they come and go.
        statements : sequence of Statement
            N facts, in the order in which they were told.
        embeddings : array of shape (N, 768)
            Of their texts.
        model : str
            Signature of the model that made them.
        """
        check_vectors("fact", embeddings, len(statements))
        await self._session.execute(
            delete(FactRow).where(
                FactRow.owner_id == self._owner_id, FactRow.summary_id == summary.id
            )
        )
        rows = [
            {
                "owner_id": self._owner_id,
                "conversation_id": summary.conversation_id,
                "summary_id": summary.id,
                "position": n,
                "first_position": summary.first_position,
                "last_position": summary.last_position,
                "about": statement.about,
                "key": key_of(statement.about),
                "text": statement.text,
                "said_at": summary.said_at,
                "embedding": embedding,
                "embedding_model": model,
            }
            for n, (statement, embedding) in enumerate(zip(statements, embeddings, strict=True))
        ]
        if rows:
            await self._session.execute(insert(FactRow), rows)

    async def get(self, id: UUID) -> Fact:
        """Return the fact of that id, or raise `NotFoundError`."""
        found = (await self._session.execute(self._query().where(*self._is(id)))).one_or_none()
        return self._entity(None, id) if found is None else _fact(*found)

    async def list(
        self,
        limit: int = 100,
        before: UUID | None = None,
        *,
        conversation_id: UUID | None = None,
        history: bool = False,
    ) -> builtins.list[Fact]:
        """
        Return facts that hold, the last told first.

        Parameters
        ----------
        limit : int
            Most facts.
        before : UUID, optional
            The last fact of the page before.
        conversation_id : UUID, optional
            What one chat told, as if there were no other.
        history : bool
            Also those that no longer hold.
        """
        query = self._query(conversation_id)
        if not history:
            later = aliased(FactRow)
            query = query.where(~exists().where(*self._told_later(later, conversation_id)))
        if before is not None:
            last = select(*_order(FactRow)).where(*self._is(before)).subquery()
            query = query.where(tuple_(*_order(FactRow)) < select(last).scalar_subquery())
        order = [column.desc() for column in _order(FactRow)]
        rows = await self._session.execute(query.order_by(*order).limit(limit))
        return [_fact(*row) for row in rows]

    async def some(
        self, ids: Sequence[UUID], conversation_id: UUID | None = None
    ) -> dict[UUID, Fact]:
        """Return the facts of those ids that there are; a chat is looked at as by `list`."""
        rows = await self._session.execute(self._query(conversation_id).where(FactRow.id.in_(ids)))
        return {row.id: _fact(row, *more) for row, *more in rows}

    async def abouts(
        self, memories: Sequence[Memory], limit: int, conversation_id: UUID | None = None
    ) -> builtins.list[str]:
        """Return what is known `about` what is nearest in meaning to memories, nearest first."""
        distance = func.min(FactRow.embedding.cosine_distance(MemoryRow.embedding))
        nearest = (
            select(FactRow.key, func.max(FactRow.about), distance.label("distance"))
            .join(MemoryRow, MemoryRow.embedding_model == FactRow.embedding_model)
            .where(
                FactRow.owner_id == self._owner_id,
                MemoryRow.owner_id == self._owner_id,
                MemoryRow.id.in_([memory.id for memory in memories]),
                *_within(FactRow, conversation_id),
            )
            .group_by(FactRow.key)
        )
        rows = await self._session.execute(nearest.order_by("distance", FactRow.key).limit(limit))
        return [about for _, about, _ in rows]

    async def are_there(self) -> bool:
        """Return True where the user has any."""
        one = select(FactRow.id).where(FactRow.owner_id == self._owner_id).limit(1)
        return await self._session.scalar(one) is not None

    async def signals(
        self,
        question: str,
        query: FloatArray,
        *,
        model: str,
        about_user: bool,
        conversation_id: UUID | None = None,
        history: bool = False,
    ) -> Signals:
        """
        Return what speaks for each fact that may answer a question; none has neighbours.

        Parameters
        ----------
        question : str
            What is asked; its first 10,000 characters are searched by word.
        query : array of shape (768,)
            Its embedding.
        model : str
            Signature of the model that made it: facts of another one are found by words only.
        about_user : bool
            Whether it asks for what is the user's own; facts that name the user speak of that.
        conversation_id : UUID, optional
            Look at what one chat told, as if there were no other.
        history : bool
            Look also among those that no longer hold.
        """
        check_vector("query", query)
        statement = _signals(conversation_id is not None, history)
        values = {
            **await words_asked(self._session, question),
            "owner": self._owner_id,
            "query": query,
            "model": model,
            "about_user": about_user,
        }
        if conversation_id is not None:
            values["conversation"] = conversation_id
        rows = (await self._session.execute(statement, values)).all()
        similarity = np.array([row.similarity for row in rows], dtype=np.float32)  # None is NaN
        nothing = np.zeros(len(rows), dtype=np.int64)
        return Signals(
            ids=[row.id for row in rows],
            chat=np.arange(len(rows), dtype=np.int64),
            position=nothing,
            day=nothing,
            words=np.array([row.words for row in rows], dtype=np.float32),
            similarity=similarity,
            context_similarity=similarity,
            spoken=np.array([row.spoken for row in rows], dtype=np.bool_),
        )

    async def waiting(self, model: str) -> builtins.list[UUID]:
        """Return the facts that another model embedded."""
        return list(
            await self._session.scalars(
                select(FactRow.id)
                .where(FactRow.owner_id == self._owner_id, FactRow.embedding_model != model)
                .order_by(FactRow.id)
            )
        )

    async def renew(self, id: UUID, embedding: FloatArray, *, model: str) -> None:
        """Put the embedding (768,) by another model in the place of a fact's, if it is there."""
        check_vector("embedding", embedding)
        await self._session.execute(
            update(FactRow).where(*self._is(id)).values(embedding=embedding, embedding_model=model)
        )

    def _query(self, conversation_id: UUID | None = None) -> Select[Any]:
        """Return the rows of the user, each with its end and the memories that it is of."""
        later = aliased(FactRow)
        end = select(func.min(later.said_at)).where(
            *self._told_later(later, conversation_id), later.text != FactRow.text
        )
        sources = select(
            func.array_agg(
                aggregate_order_by(SummarySourceRow.memory_id, SummarySourceRow.position)
            )
        ).where(SummarySourceRow.summary_id == FactRow.summary_id)
        return select(FactRow, end.scalar_subquery(), sources.scalar_subquery()).where(
            FactRow.owner_id == self._owner_id, *_within(FactRow, conversation_id)
        )

    def _told_later(self, later: Any, conversation_id: UUID | None) -> tuple[Any, ...]:
        """Return what makes a row one that was told later about the same as another."""
        return (
            later.owner_id == self._owner_id,
            later.key == FactRow.key,
            tuple_(*_order(later)) > tuple_(*_order(FactRow)),
            *_within(later, conversation_id),
        )


def _order(row: Any) -> builtins.list[Any]:
    """Return the columns that say what was told later, and of one summary what stands later."""
    return [row.said_at, row.last_position, row.position, row.id]


def _within(row: Any, conversation_id: UUID | None) -> builtins.list[ColumnElement[bool]]:
    return [] if conversation_id is None else [row.conversation_id == conversation_id]


def _fact(row: FactRow, valid_until: Any, memory_ids: builtins.list[UUID]) -> Fact:
    columns = Fact.model_fields.keys() & FactRow.__table__.columns.keys()
    return Fact(
        **{name: getattr(row, name) for name in columns},
        valid_from=row.said_at,
        valid_until=valid_until,
        memory_ids=memory_ids,
    )


@lru_cache
def _signals(in_one_chat: bool, history: bool) -> TextClause:
    scope = "owner_id = :owner" + (" AND conversation_id = :conversation" if in_one_chat else "")
    distinct, order = ("", "") if history else ("DISTINCT ON (key)", f"ORDER BY key, {_ORDER}")
    return text(
        f"""
    WITH held AS MATERIALIZED (
        SELECT {distinct} id FROM facts WHERE {scope} {order}
    ), {word_scores("SELECT f.id, f.words FROM held JOIN facts f USING (id)")}, seeds AS (
        (SELECT id FROM worded ORDER BY score DESC, id LIMIT {SEEDS})
        UNION
        (SELECT f.id FROM held JOIN facts f USING (id) WHERE f.embedding_model = :model
        ORDER BY f.embedding <=> CAST(:query AS vector), f.id LIMIT {SEEDS})
    )
    SELECT f.id, coalesce(worded.score, 0) AS words,
        CASE WHEN f.embedding_model = :model
            THEN 1 - (f.embedding <=> CAST(:query AS vector)) END AS similarity,
        CAST(:about_user AS boolean) AND f.words @@ CAST('user' AS tsquery) AS spoken
    FROM seeds JOIN facts f ON f.id = seeds.id LEFT JOIN worded ON worded.id = f.id
    WHERE f.owner_id = :owner
    ORDER BY f.id
    """
    ).bindparams(
        bindparam("owner", type_=Uuid),
        *([bindparam("conversation", type_=Uuid)] if in_one_chat else []),
        bindparam("query", type_=VECTOR(EMBEDDING_DIM)),
    )
