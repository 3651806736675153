"""Passages of texts, found by words and by meaning: those of documents, and those of pages."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import TextClause, Uuid, bindparam, insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.tables import OwnedRow
from lab.db.vectors import check_vector
from lab.db.word_scores import word_scores, words_asked
from lab.protocols import EMBEDDING_DIM, FloatArray, Signals

SEEDS: Final = 100
"""Passages of each kind that are looked up; their neighbours come along."""
_MOST_ROWS = 200  # in one statement: each carries a vector of 3 KiB


def passage_signals(passages: str, texts: str, text_id: str) -> TextClause:
    """
    Return the statement that `signals_of` executes.

    Parameters
    ----------
    passages : str
        Table of passages, with `position`, `words` and `embedding`.
    texts : str
        Table of what they are parts of, with `embedding_model`.
    text_id : str
        Column of a passage that says which.
    """
    return text(
        f"""
    WITH {word_scores(f"SELECT id, words FROM {passages} WHERE owner_id = :owner")}, seeds AS (
        (SELECT {text_id}, position FROM {passages}
        WHERE id IN (SELECT id FROM worded ORDER BY score DESC, id LIMIT {SEEDS}))
        UNION
        (SELECT c.{text_id}, c.position
        FROM {passages} c JOIN {texts} d ON d.id = c.{text_id}
        WHERE c.owner_id = :owner AND d.embedding_model = :model
        ORDER BY c.embedding <=> CAST(:query AS vector), c.id LIMIT {SEEDS})
    ), places AS (
        -- Compared by equality, which the index of places serves, also before it has statistics.
        SELECT DISTINCT {text_id}, position + step AS position
        FROM seeds, unnest(ARRAY[-1, 0, 1]) AS step
    )
    SELECT c.id, c.{text_id} AS text_id, c.position, coalesce(worded.score, 0) AS words,
        CASE WHEN d.embedding_model = :model
            THEN 1 - (c.embedding <=> CAST(:query AS vector)) ELSE 0 END AS similarity
    FROM places
    JOIN {passages} c USING ({text_id}, position)
    JOIN {texts} d ON d.id = c.{text_id}
    LEFT JOIN worded ON worded.id = c.id
    WHERE c.owner_id = :owner
    ORDER BY c.{text_id}, c.position
    """
    ).bindparams(bindparam("owner", type_=Uuid), bindparam("query", type_=VECTOR(EMBEDDING_DIM)))


async def signals_of(
    session: AsyncSession,
    statement: TextClause,
    *,
    owner_id: UUID,
    asked: str,
    query: FloatArray,
    model: str,
) -> Signals:
    """
    Return what speaks for each passage that may answer a question, text by text.

    Parameters
    ----------
    session : AsyncSession
        Open.
    statement : TextClause
        Of `passage_signals`.
    owner_id : UUID
        Whose passages they are.
    asked : str
        The question; its first 10,000 characters are searched by word.
    query : array of shape (768,)
        Its embedding.
    model : str
        The model that embedded it: passages of another one are found by their words only.
    """
    check_vector("query", query)
    values = {
        **await words_asked(session, asked),
        "owner": owner_id,
        "query": query,
        "model": model,
    }
    rows = (await session.execute(statement, values)).all()
    numbers = {id: n for n, id in enumerate(dict.fromkeys(row.text_id for row in rows))}
    similarity = np.array([row.similarity for row in rows], dtype=np.float32)
    return Signals(
        ids=[row.id for row in rows],
        chat=np.array([numbers[row.text_id] for row in rows], dtype=np.int64),
        position=np.array([row.position for row in rows], dtype=np.int64),
        day=np.zeros(len(rows), dtype=np.int64),
        words=np.array([row.words for row in rows], dtype=np.float32),
        similarity=similarity,
        context_similarity=np.full_like(similarity, np.nan),
        spoken=np.zeros(len(rows), dtype=np.bool_),
    )


async def insert_passages(
    session: AsyncSession, table: type[OwnedRow], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Store passages, some at a time."""
    for first in range(0, len(rows), _MOST_ROWS):
        await session.execute(insert(table), rows[first : first + _MOST_ROWS])
