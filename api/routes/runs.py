"""Runs: what was asked, what the model saw, what it cost."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import MemoryDep, RuntimeDep
from lab.errors import NotFoundError
from lab.schemas.event import Event
from lab.schemas.receipt import Receipt
from lab.schemas.run import Run

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("")
async def list_runs(
    runtime: RuntimeDep, owner: MemoryDep, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> list[Run]:
    """Return runs, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.runs.list(limit)


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


@router.get("/{run_id}/receipt")
async def get_receipt(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Receipt:
    """Return what was put before the model, and why."""
    async with runtime.database.stores(owner.id) as stores:
        run = await stores.runs.get(run_id)
    if run.receipt is None:
        raise NotFoundError("receipt of run", run_id)
    return run.receipt
