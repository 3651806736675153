"""
What speaks for each turn when a question is asked: words, meaning and neighbours.

The turns that share rare words with the question, by BM25, and those nearest to it in meaning are
looked up; they and their neighbours come back with all that is known of them. Ranking is another
room's work.

References
----------
Robertson and Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import numpy as np
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Row, TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.nearest import ONE_OF_CHATS, Within, nearest
from lab.protocols import EMBEDDING_DIM, FloatArray, Signals
from lab.schemas.role import Role

REACH: Final = 2
"""Turns before and after a hit that are looked at with it."""
SEEDS: Final = 200
"""Hits of each kind."""
MOST_WORDS: Final = 1000
"""Words of a question that may be names."""
MOST_POSTINGS: Final = 20_000
"""Occurrences of a question's words among which hits are looked for, the rarest words first."""
_K1, _B = 1.2, 0.4  # turns are short: their length says little
_N_TURNS = "SELECT coalesce(sum(n_messages), 0) FROM conversations WHERE owner_id = :owner"
_COMMONNESS = text(
    """
    SELECT
        (
            SELECT coalesce(sum(n_messages), 0) FROM conversations
            WHERE owner_id = :owner OR id = ANY(:chats)
        ) AS n_turns,
        array_agg(lexeme) AS lexemes, array_agg(n_with) AS n_with, array_agg(n_terms) AS n_terms
    FROM unnest(to_tsvector('english', left(CAST(:question AS text), 20000))), LATERAL (
        SELECT count(*) AS n_with, sum(memory_terms.n_terms) AS n_terms FROM memory_terms
        WHERE owner_id = ANY(:owners) AND term = lexeme
            AND (owner_id = :owner OR conversation_id = ANY(:chats))
    ) AS with_it WHERE n_with > 0
    """
).bindparams(
    bindparam("owner", type_=Uuid),
    bindparam("owners", type_=ARRAY(Uuid)),
    bindparam("chats", type_=ARRAY(Uuid)),
)

_SCORE: Final = "weight * n_times / (n_times + least_length + length * n_terms)"


# Under row-level security an index serves a comparison of columns only, not one of an expression:
# so `speaker` is stored, and `seeds` computes its bounds before they are compared.
@lru_cache
def _statement(condition: str) -> TextClause:
    return text(
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
    ), counted AS (
        SELECT lexeme, n_here, coalesce(n_with, n_here) AS n_with,
            coalesce(everywhere.n_terms, here.n_terms) AS n_terms
        FROM asked CROSS JOIN LATERAL (
            SELECT count(*) AS n_here, sum(n_terms) AS n_terms
            FROM memory_terms WHERE {condition} AND term = lexeme
        ) AS here LEFT JOIN unnest(
            CAST(:lexemes AS text[]), CAST(:n_with AS bigint[]), CAST(:n_terms AS bigint[])
        ) AS everywhere (lexeme, n_with, n_terms) USING (lexeme)
        WHERE n_here > 0
    ), weighed AS (
        SELECT lexeme,
            {_K1 + 1} * ln(1 + (:n_turns - n_with + 0.5) / (n_with + 0.5))::float8 AS weight,
            {_K1 * (1 - _B)}::float8 AS least_length,
            {_K1 * _B} / (sum(n_terms) OVER () / sum(n_with) OVER ())::float8 AS length,
            sum(n_here) OVER rarest_first <= :most_postings AS whole,
            row_number() OVER rarest_first = 1 AS rarest
        FROM counted WINDOW rarest_first AS (ORDER BY n_here, lexeme)
    ), worded AS (
        -- Where even the rarest word is that common, the newest who said it are taken.
        SELECT memory_id AS id, sum({_SCORE}) AS score
        FROM weighed, LATERAL (
            SELECT memory_id, n_times, n_terms FROM memory_terms
            WHERE {condition} AND term = lexeme
            ORDER BY memory_id DESC LIMIT :most_postings
        ) AS posted WHERE whole OR rarest GROUP BY memory_id
    ), hits AS (
        (SELECT id FROM worded ORDER BY score DESC, id LIMIT {SEEDS})
        UNION
        SELECT unnest(CAST(:nearest AS uuid[]))
    ), seeds AS MATERIALIZED (
        -- Stretches that do not overlap, so that no turn comes twice.
        SELECT conversation_id, position + {REACH} AS last,
            greatest(position - {REACH}, lag(position) OVER of_chat + {REACH} + 1) AS first
        FROM memories WHERE id IN (SELECT id FROM hits)
        WINDOW of_chat AS (PARTITION BY conversation_id ORDER BY position)
    )
    SELECT m.id, m.conversation_id::text, m.position, m.created_at::date - DATE '1970-01-01' AS day,
        CASE WHEN EXISTS (SELECT FROM weighed WHERE whole) THEN coalesce(score, 0) ELSE 0 END
        + coalesce((
            SELECT sum({_SCORE}) FROM weighed, memory_terms
            WHERE NOT whole AND memory_id = m.id AND term = lexeme
        ), 0) AS words,
        CASE WHEN m.embedding_model = :model
            THEN 1 - (m.embedding <=> CAST(:query AS vector)) END AS similarity,
        CASE WHEN c.embedding_model = :model
            THEN 1 - (c.embedding <=> CAST(:query AS vector)) END AS context_similarity,
        CASE WHEN EXISTS (SELECT FROM named)
            THEN coalesce(m.speaker IN (SELECT word FROM named), false)
            ELSE coalesce(m.role = CAST(:role AS text), false) END AS spoken
    FROM (
        SELECT m.* FROM seeds JOIN memories m ON m.conversation_id = seeds.conversation_id
            AND m.position BETWEEN seeds.first AND seeds.last
        WHERE m.message_id <> ALL(:excluded)
    ) AS m
    -- A full join is never planned as a loop over all of `worded` for each turn, however few
    -- rows are expected of it.
    FULL JOIN worded ON worded.id = m.id
    LEFT JOIN memory_contexts c ON c.memory_id = m.id
    WHERE coalesce(m.position >= 0, false)
    ORDER BY m.conversation_id, m.position
    """
    ).bindparams(
        bindparam("owner", type_=Uuid),
        bindparam("query", type_=VECTOR(EMBEDDING_DIM)),
        bindparam("nearest", type_=ARRAY(Uuid)),
        bindparam("excluded", type_=ARRAY(Uuid)),
    )


@dataclass(frozen=True)
class Commonness:
    """
    How common a question's words are in all that is searched for it, where that has several owners.

    Scores of words are comparable only where each word counts as much everywhere.

    Attributes
    ----------
    n_turns : int
        Turns in all.
    lexemes : sequence of str
        N words of the question, stemmed.
    n_with : sequence of int
        Turns with each of them.
    n_terms : sequence of int
        Words of these turns.
    """

    n_turns: int
    lexemes: Sequence[str]
    n_with: Sequence[int]
    n_terms: Sequence[int]


async def commonness(
    session: AsyncSession, owner_id: UUID, question: str, shared: Mapping[UUID, Sequence[UUID]]
) -> Commonness:
    """
    Return how common a question's words are among an owner's turns and what others share.

    Parameters
    ----------
    session : AsyncSession
        Open session that sees all of it.
    owner_id : UUID
        Who asks.
    question : str
        What is asked.
    shared : mapping
        Conversations of others, by owner.
    """
    values = {
        "owner": owner_id,
        "owners": [owner_id, *shared],
        "chats": [chat for chats in shared.values() for chat in chats],
        "question": question,
    }
    found = (await session.execute(_COMMONNESS, values)).one()
    return Commonness(
        int(found.n_turns), found.lexemes or [], found.n_with or [], found.n_terms or []
    )


async def signals(
    session: AsyncSession,
    owner_id: UUID,
    question: str,
    query: FloatArray,
    *,
    model: str,
    role: Role | None,
    conversation_ids: Sequence[UUID] | None,
    excluded: Sequence[UUID],
    everywhere: Commonness | None,
) -> Signals:
    """Return the signals of `MemoryStore.signals`, in the order of the chats."""
    within = await _within(session, owner_id, conversation_ids)
    common = everywhere or Commonness(within.n, [], [], [])
    values = {
        **within.parameters,
        **asdict(common),
        "most_postings": MOST_POSTINGS,
        "question": question,
        "words": list(dict.fromkeys(re.findall(r"\w+", question.lower())))[:MOST_WORDS],
        "role": role,
        "query": query,
        "model": model,
        "nearest": await nearest(session, within, query, model, SEEDS),
        "excluded": list(excluded),
    }
    rows = (await session.execute(_statement(within.condition), values)).all()
    return _gathered(rows)


async def _within(
    session: AsyncSession, owner_id: UUID, conversation_ids: Sequence[UUID] | None
) -> Within:
    within = Within(owner_id, conversation_ids, 0)
    chats = "" if conversation_ids is None else f" AND id {ONE_OF_CHATS}"
    n = await session.scalar(text(_N_TURNS + chats), within.parameters)
    return replace(within, n=int(n or 0))


def _gathered(rows: Sequence[Row[Any]]) -> Signals:
    """Return rows of turns as arrays."""
    ids, chat, position, day, words, similarity, context, spoken = (
        zip(*rows, strict=True) if rows else [()] * 8
    )
    chats = {id: n for n, id in enumerate(dict.fromkeys(chat))}
    return Signals(
        ids=list(ids),
        chat=np.array([chats[id] for id in chat], dtype=np.int64),
        position=np.array(position, dtype=np.int64),
        day=np.array(day, dtype=np.int64),
        words=np.array(words, dtype=np.float32),
        similarity=np.array(similarity, dtype=np.float32),  # None becomes NaN
        context_similarity=np.array(context, dtype=np.float32),
        spoken=np.array(spoken, dtype=np.bool_),
    )
