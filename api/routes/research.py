"""Research: questions that are answered by pages of the web, with citations that are verified."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response

from api.deps import CallerDep, MemoryDep, RuntimeDep, require
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_request import ResearchRequest
from lab.schemas.research_task import ResearchTask
from lab.schemas.scope import Scope

router = APIRouter(prefix="/v1/research", tags=["research"])

MARKDOWN = "text/markdown"


@router.post("", status_code=201)
async def begin_research(
    request: ResearchRequest, runtime: RuntimeDep, caller: CallerDep
) -> ResearchTask:
    """
    Begin to answer a question; it goes on until it is done or stopped.

    Its progress is the stream of its run (`/v1/runs/{run_id}/stream`).
    """
    owner = require(Scope.custom_lab_infer, caller)
    require(Scope.custom_lab_memory, caller)
    return await runtime.research.begin(owner, request)


@router.get("")
async def list_research(
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most rows to return.")] = 50,
    before: UUID | None = None,
) -> list[ResearchTask]:
    """Return tasks of research, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.research_tasks.list(limit, before)


@router.get("/{task_id}")
async def get_research(task_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> ResearchDetails:
    """Return a task with its steps, what they found, and what its report cites."""
    return await runtime.research.details(owner, task_id)


@router.get(
    "/{task_id}/report",
    response_class=Response,
    responses={200: {"content": {MARKDOWN: {}}}},
)
async def get_research_report(task_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Response:
    """Return the report of a task as Markdown."""
    return Response(await runtime.research.report(owner, task_id), media_type=MARKDOWN)


@router.post("/{task_id}/cancel")
async def cancel_research(task_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> ResearchTask:
    """Cancel a task; one that has ended stays as it is."""
    return await runtime.research.cancel(owner, task_id)


@router.post("/{task_id}/resume")
async def resume_research(task_id: UUID, runtime: RuntimeDep, caller: CallerDep) -> ResearchTask:
    """Go on with a task that was stopped or failed; what is done of it is not done again."""
    owner = require(Scope.custom_lab_infer, caller)
    require(Scope.custom_lab_memory, caller)
    return await runtime.research.resume(owner, task_id)


@router.delete("/{task_id}", status_code=204)
async def delete_research(task_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a task with its steps, citations and runs; one that goes on is cancelled first."""
    await runtime.research.delete(owner, task_id)
