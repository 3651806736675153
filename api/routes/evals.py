"""Evaluations, their runs and their schedules."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse

from api.deps import InferDep, RuntimeDep
from lab.db import Database
from lab.evals.clock import is_ticking
from lab.evals.cron import next_time
from lab.evals.service import Evaluations, Form
from lab.schemas.eval_request import EvalRequest
from lab.schemas.eval_run import EvalRun
from lab.schemas.evaluation import Evaluation
from lab.schemas.schedule import Schedule
from lab.schemas.schedule_request import ScheduleRequest
from lab.schemas.schedule_update import ScheduleUpdate

router = APIRouter(prefix="/v1", tags=["evaluations"])

Limit = Annotated[int, Query(ge=1, le=200, description="Most rows to return.")]
Before = Annotated[UUID | None, Query(description="Only rows older than this one.")]

NO_SCHEDULER = "No scheduler is alive to start it; `lab up` runs one."
MEDIA_TYPES = {"ipynb": "application/x-ipynb+json", "html": "text/html"}
# A notebook's page may hold scripts; they get no origin, so no cookies of the hub.
SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts"}


def get_evaluations(request: Request) -> Evaluations:
    """Return the evaluations of the app, opened at start-up."""
    evaluations: Evaluations = request.app.state.evaluations
    return evaluations


EvaluationsDep = Annotated[Evaluations, Depends(get_evaluations)]


@router.get("/evals")
async def list_evaluations(evaluations: EvaluationsDep, owner: InferDep) -> list[Evaluation]:
    """Return the evaluations that can be run, with their parameters."""
    return evaluations.list()


@router.post("/evals/runs", status_code=202)
async def start_eval_run(
    request: EvalRequest, evaluations: EvaluationsDep, owner: InferDep
) -> EvalRun:
    """Queue a run of an evaluation; it goes on in the background."""
    return await evaluations.start(owner, request)


@router.get("/evals/runs")
async def list_eval_runs(
    runtime: RuntimeDep, owner: InferDep, limit: Limit = 50, before: Before = None
) -> list[EvalRun]:
    """Return runs, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.eval_runs.list(limit, before)


@router.get("/evals/runs/{run_id}")
async def get_eval_run(run_id: UUID, runtime: RuntimeDep, owner: InferDep) -> EvalRun:
    """Return one run: how far it is, and what it measured."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.eval_runs.get(run_id)


@router.post("/evals/runs/{run_id}/cancel")
async def cancel_eval_run(run_id: UUID, evaluations: EvaluationsDep, owner: InferDep) -> EvalRun:
    """Stop a run."""
    return await evaluations.cancel(owner, run_id)


@router.get(
    "/evals/runs/{run_id}/notebook",
    response_class=FileResponse,
    responses={200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}},
)
async def get_executed_notebook(
    run_id: UUID, evaluations: EvaluationsDep, owner: InferDep, form: Form = "html"
) -> FileResponse:
    """Return the executed notebook, as a page or as `.ipynb`."""
    file = await evaluations.executed(owner, run_id, form)
    return FileResponse(
        file,
        media_type=MEDIA_TYPES[form],
        filename=file.name,
        content_disposition_type="inline" if form == "html" else "attachment",
        headers=SANDBOX,
    )


@router.get("/schedules")
async def list_schedules(
    runtime: RuntimeDep, owner: InferDep, limit: Limit = 50, before: Before = None
) -> list[Schedule]:
    """Return schedules, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        schedules = await stores.schedules.list(limit, before)
    return await _warned(runtime.database, schedules)


@router.post("/schedules", status_code=201)
async def create_schedule(
    request: ScheduleRequest, runtime: RuntimeDep, evaluations: EvaluationsDep, owner: InferDep
) -> Schedule:
    """Run an evaluation by the clock; `warning` says when no scheduler is alive to do so."""
    parameters = evaluations.check(request.evaluation, request.parameters)
    due = next_time(request.cron) if request.enabled else None
    async with runtime.database.stores(owner.id) as stores:
        schedule = await stores.schedules.create(
            request.name,
            request.cron,
            request.evaluation,
            parameters,
            enabled=request.enabled,
            next_run_at=due,
        )
    (schedule,) = await _warned(runtime.database, [schedule])
    return schedule


@router.get("/schedules/{schedule_id}")
async def get_schedule(schedule_id: UUID, runtime: RuntimeDep, owner: InferDep) -> Schedule:
    """Return one schedule."""
    async with runtime.database.stores(owner.id) as stores:
        found = await stores.schedules.get(schedule_id)
    (schedule,) = await _warned(runtime.database, [found])
    return schedule


@router.patch("/schedules/{schedule_id}")
async def change_schedule(
    schedule_id: UUID,
    update: ScheduleUpdate,
    runtime: RuntimeDep,
    evaluations: EvaluationsDep,
    owner: InferDep,
) -> Schedule:
    """Pause a schedule, go on with it, or change its times or parameters."""
    async with runtime.database.stores(owner.id) as stores:
        schedule = await stores.schedules.get(schedule_id)
        changes = update.model_dump(exclude_none=True)
        if "parameters" in changes:
            changes["parameters"] = evaluations.check(schedule.evaluation, changes["parameters"])
        changed = schedule.model_copy(update=changes)
        due = next_time(changed.cron) if changed.enabled else None
        schedule = await stores.schedules.update(schedule_id, **changes, next_run_at=due)
    (schedule,) = await _warned(runtime.database, [schedule])
    return schedule


@router.delete("/schedules/{schedule_id}", status_code=204)
async def delete_schedule(schedule_id: UUID, runtime: RuntimeDep, owner: InferDep) -> None:
    """Delete a schedule; the runs it started stay."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.schedules.delete(schedule_id)


async def _warned(database: Database, schedules: Sequence[Schedule]) -> list[Schedule]:
    """Say at those that are enabled what keeps them from being fired, if anything does."""
    if not any(s.enabled for s in schedules) or await is_ticking(database):
        return list(schedules)
    warned = {"warning": NO_SCHEDULER}
    return [s.model_copy(update=warned) if s.enabled else s for s in schedules]
