"""
The turns of an owner that are nearest to a question in meaning.

Each is compared where they are few. Where they are very many, an index finds them: a graph (HNSW)
of the turns of all owners. To each embedding x, of length 1, the index adds a code c of length 1
that is its owner's and its model's (`memory_space`): 64 signs, so that the codes of two owners are
nearly orthogonal. In it a turn of the owner has the similarity (x·q + 1) / 2 to a question q, and
one of somebody else about x·q / 2: a walk that begins at the owner's code stays among their turns.
It finds nearly all that a comparison of each would find; who ranks them compares exactly.

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
_WALK: Final = {
    "hnsw.ef_search": "200",
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": "5000",
}
"""Look on while rows are sorted out, as those of other chats are, but not for ever."""


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
    return await _ids(session, within, "embedding <=> CAST(:query AS vector)", values)


async def _by_graph(session: AsyncSession, within: Within, values: dict[str, Any]) -> list[UUID]:
    """
    Walk the graph until there are enough; fewer come back when it gives up before.

    The planner knows neither how many steps that takes nor what a comparison costs, and may prefer
    to sort all rows: it is forbidden to.
    """
    await _set(session, enable_sort="off", **_WALK)
    found = await _ids(session, within, f"{EMBEDDING_IN_SPACE} <=> {_QUERY_IN_SPACE}", values)
    await _set(session, enable_sort="on")
    return found


async def _set(session: AsyncSession, **settings: str) -> None:
    """Change settings of the server until the transaction ends."""
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())
    await session.execute(text(f"SELECT {calls}"))


async def _ids(
    session: AsyncSession, within: Within, distance: str, values: dict[str, Any]
) -> list[UUID]:
    statement = text(
        f"SELECT id FROM memories WHERE {within.condition} AND embedding_model = :model"
        f" ORDER BY {distance} LIMIT :limit"
    ).bindparams(bindparam("owner", type_=Uuid), bindparam("query", type_=VECTOR(EMBEDDING_DIM)))
    return list(await session.scalars(statement, values))
