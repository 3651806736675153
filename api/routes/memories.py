"""Memories: turns that can be found again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import MemoryDep, RuntimeDep
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit

router = APIRouter(prefix="/v1/memories", tags=["memories"])

Limit = Annotated[int, Query(ge=1, le=200, description="Most rows to return.")]


@router.get("")
async def list_memories(
    runtime: RuntimeDep, owner: MemoryDep, limit: Limit = 50, before: UUID | None = None
) -> list[Memory]:
    """Return memories, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.memories.list(limit, before)


@router.get("/search")
async def search_memories(
    q: Annotated[str, Query(min_length=1, description="What to look for.")],
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Limit = 10,
) -> list[MemoryHit]:
    """Return the memories that bear on `q`, best first."""
    return await runtime.search_memories(owner, q, limit)


@router.delete("/{memory_id}", status_code=204)
async def delete_memory(memory_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Forget one memory; the message it came from stays."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.memories.delete(memory_id)
