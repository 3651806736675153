"""
What speaks for each turn when a question is asked: one statement for words, meaning and neighbours.

The turns that share rare words with the question, by BM25, and those nearest to it in meaning are
looked up; they and their neighbours come back with all that is known of them. Ranking is another
room's work.

References
----------
Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009.
"""

import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from lab.protocols import EMBEDDING_DIM, FloatArray, Signals
from lab.schemas.role import Role

REACH: Final = 2
"""Turns before and after a hit that are looked at with it."""
SEEDS: Final = 200
"""Hits of each kind."""
MOST_WORDS: Final = 1000
"""Words of a question that may be names."""
_K1, _B = 1.2, 0.4  # turns are short: their length says little

# Under row-level security an index serves a comparison of columns only, not one of an expression:
# so `speaker` is stored, and `seeds` computes its bounds before they are compared.
_STATEMENT = text(
    f"""
    WITH named AS (
        SELECT word FROM unnest(CAST(:words AS text[])) AS word, LATERAL (
            SELECT FROM memories WHERE owner_id = :owner AND speaker = word LIMIT 1
        ) AS one  -- by LATERAL: an EXISTS is planned as a join with all names
    ), asked AS (
        -- A speaker's name says who spoke; in a turn it says to whom.
        SELECT lexeme FROM unnest(to_tsvector('english', left(CAST(:question AS text), 20000)))
        EXCEPT
        SELECT lexeme FROM named, unnest(to_tsvector('english', word))
    ), size AS (
        SELECT count(*)::float8 AS n FROM memories
        WHERE owner_id = :owner AND conversation_id = coalesce(:conversation, conversation_id)
    ), posted AS (
        SELECT memory_id AS id, n_times, n_terms / avg(n_terms) OVER () AS length,
            count(*) OVER (PARTITION BY term) AS n_with
        FROM memory_terms WHERE owner_id = :owner AND term IN (SELECT lexeme FROM asked)
            AND conversation_id = coalesce(:conversation, conversation_id)
    ), worded AS (
        SELECT id, sum(
            ln(1 + (n - n_with + 0.5) / (n_with + 0.5)) * n_times * {_K1 + 1}
            / (n_times + {_K1} * ({1 - _B} + {_B} * length))
        )::float8 AS score
        FROM posted, size GROUP BY id
    ), seeds AS (
        (SELECT conversation_id, position - {REACH} AS first, position + {REACH} AS last
        FROM memories WHERE id IN (SELECT id FROM worded ORDER BY score DESC, id LIMIT {SEEDS}))
        UNION
        (SELECT conversation_id, position - {REACH}, position + {REACH} FROM memories
        WHERE owner_id = :owner AND conversation_id = coalesce(:conversation, conversation_id)
        ORDER BY embedding <=> CAST(:query AS vector), id LIMIT {SEEDS})
    )
    SELECT m.id, m.conversation_id, m.position, m.created_at,
        coalesce(worded.score, 0) AS words,
        1 - (m.embedding <=> CAST(:query AS vector)) AS similarity,
        1 - (coalesce(c.embedding, m.embedding) <=> CAST(:query AS vector)) AS context_similarity,
        CASE WHEN EXISTS (SELECT FROM named)
            THEN coalesce(m.speaker IN (SELECT word FROM named), false)
            ELSE coalesce(m.role = CAST(:role AS text), false) END AS spoken
    FROM memories m
    LEFT JOIN worded ON worded.id = m.id
    LEFT JOIN memory_contexts c ON c.memory_id = m.id
    WHERE m.message_id <> ALL(:excluded) AND m.id IN (
        SELECT near.id FROM seeds JOIN memories near
        ON near.conversation_id = seeds.conversation_id
        AND near.position BETWEEN seeds.first AND seeds.last
    )
    ORDER BY m.conversation_id, m.position
    """
).bindparams(
    bindparam("owner", type_=Uuid),
    bindparam("conversation", type_=Uuid),
    bindparam("query", type_=VECTOR(EMBEDDING_DIM)),
    bindparam("excluded", type_=ARRAY(Uuid)),
)


async def signals(
    session: AsyncSession,
    owner_id: UUID,
    question: str,
    query: FloatArray,
    *,
    role: Role | None,
    conversation_id: UUID | None,
    excluded: Sequence[UUID],
) -> Signals:
    """Return the signals of `MemoryStore.signals`, in the order of the chats."""
    rows = (
        await session.execute(
            _STATEMENT,
            {
                "owner": owner_id,
                "conversation": conversation_id,
                "question": question,
                "words": list(dict.fromkeys(re.findall(r"\w+", question.lower())))[:MOST_WORDS],
                "role": role,
                "query": query,
                "excluded": list(excluded),
            },
        )
    ).all()
    chats = {chat: n for n, chat in enumerate(dict.fromkeys(row.conversation_id for row in rows))}

    def column(name: str, kind: type) -> NDArray[Any]:
        return np.array([getattr(row, name) for row in rows], dtype=kind)

    return Signals(
        ids=[row.id for row in rows],
        chat=np.array([chats[row.conversation_id] for row in rows], dtype=np.int64),
        position=column("position", np.int64),
        day=np.array([row.created_at.toordinal() for row in rows], dtype=np.int64),
        words=column("words", np.float32),
        similarity=column("similarity", np.float32),
        context_similarity=column("context_similarity", np.float32),
        spoken=column("spoken", np.bool_),
    )
