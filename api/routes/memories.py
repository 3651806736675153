"""Memories: turns that can be found again."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import MemoryDep, RuntimeDep
from lab.errors import InputError
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.memory_update import MemoryUpdate

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
    q: Annotated[str, Query(min_length=1, max_length=10_000, description="What to look for.")],
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Limit = 10,
) -> list[MemoryHit]:
    """Return the memories that bear on `q`, best first."""
    return await runtime.search_memories(owner, q, limit)


@router.delete("", status_code=204)
async def delete_memories(
    runtime: RuntimeDep,
    owner: MemoryDep,
    conversation_id: Annotated[UUID | None, Query(description="Forget those of this chat.")] = None,
    everything: Annotated[bool, Query(alias="all", description="Forget all there are.")] = False,
) -> None:
    """Forget the memories of one chat, or all; the messages they came from stay."""
    if everything is (conversation_id is not None):
        raise InputError(
            "Say what to forget: either `conversation_id=ID` for one chat, or `all=true`."
        )
    await runtime.forgetting.memories(owner, conversation_id)


@router.get("/{memory_id}")
async def get_memory(memory_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Memory:
    """Return one memory."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.memories.get(memory_id)


@router.patch("/{memory_id}")
async def correct_memory(
    memory_id: UUID, request: MemoryUpdate, runtime: RuntimeDep, owner: MemoryDep
) -> Memory:
    """Put another text in the place of a memory's; the message it came from stays as it was."""
    return await runtime.correct_memory(owner, memory_id, request.text)


@router.delete("/{memory_id}", status_code=204)
async def delete_memory(memory_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Forget one memory; the message it came from stays."""
    await runtime.forgetting.memory(owner, memory_id)
