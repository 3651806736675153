"""Facts: what conversations told that holds, and what held before."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import MemoryDep, RuntimeDep
from lab.schemas.fact import Fact
from lab.schemas.fact_hit import FactHit

router = APIRouter(prefix="/v1/facts", tags=["facts"])

Limit = Annotated[int, Query(ge=1, le=200, description="Most rows to return.")]
Chat = Annotated[
    UUID | None, Query(description="Only what this conversation told, as if it were the only one.")
]
History = Annotated[bool, Query(description="Also facts that no longer hold.")]


@router.get("")
async def list_facts(
    runtime: RuntimeDep,
    owner: MemoryDep,
    conversation_id: Chat = None,
    history: History = False,
    limit: Limit = 50,
    before: UUID | None = None,
) -> list[Fact]:
    """Return facts that hold, the last told first."""
    async with runtime.database.stores(owner.id) as stores:
        if conversation_id is not None:
            await stores.conversations.get(conversation_id)
        return await stores.facts.list(
            limit, before, conversation_id=conversation_id, history=history
        )


@router.get("/search")
async def search_facts(
    q: Annotated[str, Query(min_length=1, description="What to look for.")],
    runtime: RuntimeDep,
    owner: MemoryDep,
    conversation_id: Chat = None,
    history: History = False,
    limit: Limit = 10,
) -> list[FactHit]:
    """Return the facts that bear on `q`, best first."""
    return await runtime.search_facts(
        owner, q, limit, conversation_id=conversation_id, history=history
    )


@router.get("/{fact_id}")
async def get_fact(fact_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Fact:
    """Return one fact."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.facts.get(fact_id)
