"""Runs: what was asked, what the model saw, what it cost, and what happens in them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from api.deps import CallerDep, MemoryDep, RuntimeDep, require
from api.streams import LAST_POSITION, event_stream
from lab.errors import NotFoundError
from lab.schemas.event import Event
from lab.schemas.receipt import Receipt
from lab.schemas.resume_request import ResumeRequest
from lab.schemas.run import Run
from lab.schemas.run_status import RunStatus
from lab.schemas.scope import Scope

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("")
async def list_runs(
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: UUID | None = None,
    conversation: UUID | None = None,
) -> list[Run]:
    """Return runs, of one conversation or all, newest first; `before` pages."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.runs.list(limit, before, conversation)


@router.get("/{run_id}")
async def get_run(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Run:
    """Return one run."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.runs.get(run_id)


@router.get("/{run_id}/events")
async def list_events(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> list[Event]:
    """Return what happened in a run, in order."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.runs.get(run_id)
        return await stores.events.list(run_id)


@router.get(
    "/{run_id}/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def follow_run(
    run_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    after: Annotated[int, Query(ge=-1, le=LAST_POSITION)] = -1,
    last_event_id: Annotated[int | None, Header(ge=-1, le=LAST_POSITION)] = None,
) -> StreamingResponse:
    """
    Follow a run from any position until it ends, as Server-Sent Events.

    `Last-Event-ID`, which browsers send when they connect again, goes before `after`. Whoever
    stops to follow leaves the run alone.
    """
    async with runtime.database.stores(owner.id) as stores:
        await stores.runs.get(run_id)
    start = after if last_event_id is None else last_event_id
    return event_stream(runtime.running.follow(owner.id, run_id, start))


@router.post("/{run_id}/cancel")
async def cancel_run(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Run:
    """Cancel a run that goes on without its client; one that has ended stays as it is."""
    return await runtime.stop_run(owner, run_id, RunStatus.cancelled)


@router.post("/{run_id}/pause")
async def pause_run(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Run:
    """Interrupt a run that goes on without its client, to resume it later."""
    return await runtime.stop_run(owner, run_id, RunStatus.interrupted)


@router.post("/{run_id}/resume", status_code=201)
async def resume_run(
    run_id: UUID, runtime: RuntimeDep, caller: CallerDep, request: ResumeRequest | None = None
) -> Run:
    """
    Go on with an interrupted turn of a conversation, in a run of its own, which is returned.

    Finished steps do not run again. A turn that asks something is given the `reply`.
    """
    owner = require(Scope.custom_lab_infer, caller)
    require(Scope.custom_lab_memory, caller)
    live = await runtime.answering.resume(owner, run_id, request.reply if request else None)
    async with runtime.database.stores(owner.id) as stores:
        return await stores.runs.get(live.log.run_id)


@router.get("/{run_id}/receipt")
async def get_receipt(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Receipt:
    """Return what was put before the model, and why."""
    async with runtime.database.stores(owner.id) as stores:
        run = await stores.runs.get(run_id)
    if run.receipt is None:
        raise NotFoundError("receipt of run", run_id)
    return run.receipt
