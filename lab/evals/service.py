"""Evaluations of a running lab: which there are, starting them, following them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from fastapi import FastAPI

from lab.config import Settings
from lab.db import Database
from lab.errors import ConflictError, LabError, NotFoundError
from lab.evals.catalog import check_parameters, find_evaluation, list_evaluations
from lab.evals.runner import Outcome, run_notebook
from lab.evals.serving import serving
from lab.schemas.eval_request import EvalRequest
from lab.schemas.eval_run import EvalRun
from lab.schemas.evaluation import Evaluation
from lab.schemas.run_status import RunStatus
from lab.schemas.scope import Scope
from lab.schemas.user import User

Form = Literal["ipynb", "html"]

KEY_LIFETIME = timedelta(days=1)
"""How long a kernel's key lives at most, should this process be killed before it revokes it."""


class Evaluations:
    """
    Runs evaluation notebooks against the app that this process serves.

    Parameters
    ----------
    settings : Settings
        Where notebooks and results lie, and how long a cell may take.
    database : Database
        Where runs are kept.
    app : FastAPI
        What a notebook's kernel talks to, so that it measures the very model that answers others.
    """

    def __init__(self, settings: Settings, database: Database, app: FastAPI) -> None:
        self._settings = settings
        self._database = database
        self._app = app
        self._turns = asyncio.Semaphore(settings.config.evaluation.concurrent_runs)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}

    def list(self) -> list[Evaluation]:
        """Return the evaluations there are."""
        return list_evaluations(self._settings.notebooks_folder)

    def check(self, evaluation: str, parameters: Mapping[str, object]) -> dict[str, object]:
        """
        Return the parameters with the notebook's types.

        Raises
        ------
        UnknownEvaluationError
            If there is no such evaluation.
        InputError
            If it has no such parameter or wants another type.
        """
        found = find_evaluation(evaluation, self._settings.notebooks_folder)
        return check_parameters(found, parameters)

    async def start(self, owner: User, request: EvalRequest) -> EvalRun:
        """
        Queue a run and return it; it goes on in the background.

        Raises
        ------
        UnknownEvaluationError
            If there is no such evaluation.
        InputError
            If its parameters are wrong.
        NotFoundError
            If the schedule is not the owner's.
        """
        evaluation = find_evaluation(request.evaluation, self._settings.notebooks_folder)
        parameters = check_parameters(evaluation, request.parameters)
        async with self._database.stores(owner.id) as stores:
            if request.schedule_id is not None:
                await stores.schedules.get(request.schedule_id)
            run = await stores.eval_runs.create(
                evaluation.name, evaluation.notebook, parameters, schedule_id=request.schedule_id
            )
        self._tasks[run.id] = task = asyncio.create_task(self._run(run))
        task.add_done_callback(lambda _: self._tasks.pop(run.id))
        return run

    async def cancel(self, owner: User, run_id: UUID) -> EvalRun:
        """
        Stop a run.

        Raises
        ------
        NotFoundError
            If it is not the owner's.
        ConflictError
            If it has ended, or runs in another process.
        """
        run = await self._get(owner, run_id)
        task = self._tasks.get(run_id)
        if task is None:
            raise ConflictError(f"The run `{run_id}` does not run here: it is {run.status.value}.")
        task.cancel()
        await asyncio.wait([task])
        async with self._database.stores(owner.id) as stores:
            return await stores.eval_runs.update(
                run_id, status=RunStatus.cancelled, error="Stopped on request."
            )

    async def executed(self, owner: User, run_id: UUID, form: Form) -> Path:
        """
        Return the file of the executed notebook, as it is so far.

        Raises
        ------
        NotFoundError
            If the run is not the owner's, or has not executed anything yet.
        """
        run = await self._get(owner, run_id)
        file = self._settings.data_folder / (run.executed_notebook or "")
        file = file.with_suffix(f".{form}")
        if not file.is_file():
            raise NotFoundError(f"executed notebook ({form}) of run", run_id)
        return file

    async def aclose(self) -> None:
        """Stop what runs; the runs say that they were interrupted."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _get(self, owner: User, run_id: UUID) -> EvalRun:
        async with self._database.stores(owner.id) as stores:
            return await stores.eval_runs.get(run_id)

    async def _run(self, run: EvalRun) -> None:
        """Execute a run and write down how it ended, whatever happens."""
        end: dict[str, Any] = {
            "status": RunStatus.interrupted,
            "error": "The process that ran it ended; start it again.",
        }
        try:
            async with self._turns:
                outcome = await self._execute(run)
            end = {
                "status": RunStatus.failed if outcome.error else RunStatus.completed,
                "error": outcome.error,
                "metrics": outcome.metrics,
            }
        except LabError as error:
            end = {"status": RunStatus.failed, "error": str(error)}
        finally:
            await self._update(run, finished_at=datetime.now(UTC), **end)

    async def _execute(self, run: EvalRun) -> Outcome:
        target = Path("evals", str(run.id), f"{run.name}.ipynb")
        await self._update(
            run,
            status=RunStatus.running,
            started_at=datetime.now(UTC),
            executed_notebook=str(target),
        )
        key_id, secret = await self._make_key(run)
        try:
            async with serving(self._app) as url:
                return await run_notebook(
                    self._settings.notebooks_folder / run.notebook,
                    self._settings.data_folder / target,
                    run.parameters,
                    cell_timeout_s=self._settings.config.evaluation.cell_timeout_s,
                    environment={"LAB_API_URL": url, "LAB_API_KEY": secret},
                    on_progress=lambda done, total: self._update(
                        run, cells_done=done, cells_total=total
                    ),
                )
        finally:
            async with self._database.stores(run.owner_id) as stores:
                await stores.api_keys.delete(key_id)

    async def _make_key(self, run: EvalRun) -> tuple[UUID, str]:
        """Make the key by which the notebook's kernel acts for the owner."""
        async with self._database.stores(run.owner_id) as stores:
            key, secret = await stores.api_keys.create(
                f"evaluation {run.id}",
                [Scope.custom_lab_infer, Scope.custom_lab_memory],
                expires_at=datetime.now(UTC) + KEY_LIFETIME,
            )
        return key.id, secret

    async def _update(self, run: EvalRun, **fields: Any) -> None:
        async with self._database.stores(run.owner_id) as stores:
            await stores.eval_runs.update(run.id, **fields)
