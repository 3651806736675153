"""Who holds which memory: everybody may see it, administrators change it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from fastapi import APIRouter, Request, status
from fastapi.responses import StreamingResponse

from api.deps import AdminDep, CallerDep, InferDep, RuntimeDep
from api.disconnect import unless_gone
from lab.schemas.caller import Caller
from lab.schemas.lease import Lease
from lab.schemas.lease_request import LeaseRequest
from lab.schemas.memory_lease import MemoryLease
from lab.schemas.residency import Residency
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.scope import Scope

BEAT_S: Final = 5
"""Between two signs of life: so late at most it shows that a program is gone."""

router = APIRouter(prefix="/v1/residency", tags=["residency"])


@router.get("")
async def get_residency(runtime: RuntimeDep, owner: InferDep, caller: CallerDep) -> Residency:
    """Return what models take of their devices, who uses them, and the last decisions."""
    residency = runtime.pipelines.residency()
    models = [
        model.model_copy(update={"leases": [_seen(lease, caller) for lease in model.leases]})
        for model in residency.models
    ]
    return residency.model_copy(update={"models": models})


@router.post(
    "/leases",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def lease_memory(
    request: LeaseRequest, http: Request, runtime: RuntimeDep, owner: InferDep
) -> StreamingResponse:
    """
    Give a program memory of a device for its own use, as long as it keeps the connection open.

    Unused models leave for it. The lease is the one event of the stream; signs of life follow.
    """
    leases = runtime.pipelines.reserve(request, owner.id)
    lease = await unless_gone(http, anext(leases))
    return StreamingResponse(_kept(lease, leases), media_type="text/event-stream")


@router.put("/{model_id:path}")
async def load_model(model_id: str, runtime: RuntimeDep, admin: AdminDep) -> Residency:
    """Bring a model into memory before anybody asks for it."""
    await runtime.pipelines.load(model_id)
    return runtime.pipelines.residency()


@router.patch("/{model_id:path}")
async def update_residency(
    model_id: str, update: ResidencyUpdate, runtime: RuntimeDep, admin: AdminDep
) -> Residency:
    """Pin a model or end that, and say how early it leaves when others need its memory."""
    runtime.pipelines.share(model_id, update)
    return runtime.pipelines.residency()


@router.delete("/{model_id:path}", status_code=status.HTTP_204_NO_CONTENT)
async def unload_model(model_id: str, runtime: RuntimeDep, admin: AdminDep) -> None:
    """Take a model out of memory; one that is used stays, and the answer is 409."""
    await runtime.pipelines.unload(model_id)


async def _kept(
    lease: MemoryLease, leases: AsyncGenerator[MemoryLease, None]
) -> AsyncIterator[str]:
    """Yield a lease, then signs of life; a program that goes away ends it."""
    async with aclosing(leases):
        yield f"data: {lease.model_dump_json()}\n\n"
        while True:
            await asyncio.sleep(BEAT_S)
            yield ":\n\n"


def _seen(lease: Lease, caller: Caller) -> Lease:
    """Return a lease as the caller may see it: whose it is only of one's own, or to admins."""
    if lease.owner_id == caller.user.id or Scope.custom_lab_admin in caller.scopes:
        return lease
    return lease.model_copy(update={"owner_id": None})
