"""
The turns of an owner that are nearest to a question in meaning.

Each is compared where they are few. Where they are very many, an index finds them: a graph (HNSW)
of the turns of all owners. To each embedding x, of length 1, the index adds a code c of length 1
that is its owner's and its model's (`memory_space`): 64 signs, so that the codes of two owners are
nearly orthogonal. In it a turn of the owner has the similarity (x·q + 1) / 2 to a question q, and
one of somebody else about x·q / 2: a walk that begins at the owner's code stays among their turns.
It finds nearly all that a comparison of each would find, of a very large owner by looking at more
than are asked for; who ranks them compares exactly.

References
----------
Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical
navigable small world graphs", 2018.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.tables import EMBEDDING_IN_SPACE
from lab.protocols import EMBEDDING_DIM, FloatArray

ONE_OF_CHATS: Final = "= ANY(CAST(:chats AS uuid[]))"
LEAST_FOR_GRAPH: Final = 10_000
"""Up to so many turns, comparing each is fast, and exact."""
_QUERY_IN_SPACE: Final = (
    f"(CAST(:query AS halfvec({EMBEDDING_DIM})) || memory_space(:owner, :model))::halfvec(832)"
)
_EXACTLY: Final = "embedding <=> CAST(:query AS vector)"
ALL_SEEN: Final = 150_000
"""Up to so many turns, a walk that finds as many as are asked for misses next to none of them."""
ONE_IN: Final = 160
"""Of more turns, so great a part is looked at: of a million, a plain walk misses one in eight."""
LEAST_AT_ONCE: Final = 200
MOST_AT_ONCE: Final = 1000
"""Candidates of one round of a walk; pgvector takes no more."""
MOST_PASSED: Final = 5000
"""Rows that a walk looks at before it gives up, where it wants few."""


@dataclass(frozen=True)
class Within:
    """
    Where to look: the turns of an owner, or of some of their chats.

    Attributes
    ----------
    n : int
        How many there are, about.
    """

    owner_id: UUID
    conversation_ids: Sequence[UUID] | None
    n: int

    @property
    def condition(self) -> str:
        """The condition that a row of a turn fulfils, in SQL."""
        chats = "" if self.conversation_ids is None else f" AND conversation_id {ONE_OF_CHATS}"
        return f"owner_id = :owner{chats}"

    @property
    def parameters(self) -> dict[str, Any]:
        """What is bound in the condition."""
        chats = {} if self.conversation_ids is None else {"chats": list(self.conversation_ids)}
        return {"owner": self.owner_id, **chats}


async def nearest(
    session: AsyncSession, within: Within, query: FloatArray, model: str, limit: int
) -> list[UUID]:
    """
    Return the memories that are nearest to a query in meaning, in no order.

    Parameters
    ----------
    session : AsyncSession
        Open session of the owner.
    within : Within
        Where to look.
    query : array of shape (768,)
        Embedding of the question.
    model : str
        Signature of the model that made it: others' embeddings cannot be compared.
    limit : int
        How many.
    """
    values = {**within.parameters, "query": query, "model": model, "limit": limit}
    if within.n > LEAST_FOR_GRAPH:
        found = await _by_graph(session, within, values)
        if len(found) == limit:
            return found
    return await _each(session, within, values)


async def _each(session: AsyncSession, within: Within, values: dict[str, Any]) -> list[UUID]:
    """Compare all."""
    return await _ids(
        session, f"SELECT id {_from(within)} ORDER BY {_EXACTLY} LIMIT :limit", values
    )


async def _by_graph(session: AsyncSession, within: Within, values: dict[str, Any]) -> list[UUID]:
    """
    Walk the graph until there are enough; fewer come back when it gives up before.

    The planner knows neither how many steps that takes nor what a comparison costs, and may prefer
    to sort all rows: it is forbidden to.
    """
    seen = max(values["limit"], within.n // ONE_IN if within.n > ALL_SEEN else 0)
    await _set(
        session,
        **{
            "enable_sort": "off",
            "hnsw.ef_search": str(min(max(seen, LEAST_AT_ONCE), MOST_AT_ONCE)),
            # Look on while rows are sorted out, as those of other chats are, but not for ever.
            "hnsw.iterative_scan": "relaxed_order",
            "hnsw.max_scan_tuples": str(max(MOST_PASSED, 4 * seen)),
            "hnsw.scan_mem_multiplier": "8",
        },
    )
    walk = f"{_from(within)} ORDER BY {EMBEDDING_IN_SPACE} <=> {_QUERY_IN_SPACE} LIMIT :seen"
    statement = f"SELECT id {walk}"
    if seen > values["limit"]:
        looked_at = f"(SELECT id, embedding {walk}) AS looked_at"
        statement = f"SELECT id FROM {looked_at} ORDER BY {_EXACTLY} LIMIT :limit"
    found = await _ids(session, statement, {**values, "seen": seen})
    await _set(session, enable_sort="on")
    return found


async def _set(session: AsyncSession, **settings: str) -> None:
    """Change settings of the server until the transaction ends."""
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    await session.execute(text(f"SELECT {calls}"))


def _from(within: Within) -> str:
    return f"FROM memories WHERE {within.condition} AND embedding_model = :model"


async def _ids(session: AsyncSession, statement: str, values: dict[str, Any]) -> list[UUID]:
    bound = (bindparam("owner", type_=Uuid), bindparam("query", type_=VECTOR(EMBEDDING_DIM)))
    return list(await session.scalars(text(statement).bindparams(*bound), values))
