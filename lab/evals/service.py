"""Evaluations of a running lab: which there are, starting them, following them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple
from uuid import UUID

import structlog
from fastapi import FastAPI

from lab.config import Settings
from lab.db import Database
from lab.errors import ConflictError, LabError, NotFoundError
from lab.evals.catalog import check_parameters, find_evaluation, list_evaluations
from lab.evals.runner import Outcome, run_notebook
from lab.evals.serving import serving
from lab.evals.workplace import Workplace
from lab.schemas.eval_request import EvalRequest
from lab.schemas.eval_run import EvalRun
from lab.schemas.evaluation import Evaluation
from lab.schemas.run_status import RunStatus
from lab.schemas.scope import Scope
from lab.schemas.user import User
from lab.supervisor.accounts import evaluation_account

Form = Literal["ipynb", "html"]

KEY_LIFETIME = timedelta(days=1)
"""How long a kernel's key lives at most, should this process be killed before it revokes it."""

log = structlog.get_logger(__name__)


class Going(NamedTuple):
    """A run that goes on in this process."""

    work: asyncio.Task[Outcome]
    end: asyncio.Task[None]
    """Writes down how the work ended; never cancelled itself, so that this is never lost."""


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
        self._going: dict[UUID, Going] = {}

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
        work = asyncio.create_task(self._execute(run))
        end = asyncio.create_task(self._write_end(run, work))
        self._going[run.id] = Going(work, end)
        end.add_done_callback(lambda _: self._going.pop(run.id))
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
        if (going := self._going.get(run_id)) is not None:
            going.work.cancel()
            await asyncio.wait([going.end])
            if going.work.cancelled():
                async with self._database.stores(owner.id) as stores:
                    return await stores.eval_runs.update(
                        run_id, status=RunStatus.cancelled, error="Stopped on request."
                    )
            run = await self._get(owner, run_id)  # it ended by itself in that moment
        raise ConflictError(f"The run `{run_id}` does not run here: it is {run.status.value}.")

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
        going = list(self._going.values())
        for run in going:
            run.work.cancel()
        await asyncio.gather(*(run.end for run in going), return_exceptions=True)

    async def _get(self, owner: User, run_id: UUID) -> EvalRun:
        async with self._database.stores(owner.id) as stores:
            return await stores.eval_runs.get(run_id)

    async def _write_end(self, run: EvalRun, work: asyncio.Task[Outcome]) -> None:
        """Write down how a run ended, whatever happens."""
        await asyncio.wait([work])
        await self._update(run, finished_at=datetime.now(UTC), **_ending(run, work))

    async def _execute(self, run: EvalRun) -> Outcome:
        async with self._turns:
            target = self._results() / str(run.id) / f"{run.name}.ipynb"
            await self._update(
                run,
                status=RunStatus.running,
                started_at=datetime.now(UTC),
                executed_notebook=str(target.relative_to(self._settings.data_folder)),
            )
            source = self._settings.notebooks_folder / run.notebook
            account = await asyncio.to_thread(evaluation_account, self._settings, source)
            async with self._key(run) as secret, serving(self._app) as url:
                return await run_notebook(
                    source,
                    Workplace(target, account),
                    run.parameters,
                    cell_timeout_s=self._settings.config.evaluation.cell_timeout_s,
                    environment={"LAB_API_URL": url, "LAB_API_KEY": secret},
                    on_progress=lambda done, total: self._update(
                        run, cells_done=done, cells_total=total
                    ),
                )

    def _results(self) -> Path:
        """Return the folder of executed notebooks, closed to every other OS account."""
        folder = self._settings.data_folder / "evals"
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)  # a lab of before left it open
        return folder

    @asynccontextmanager
    async def _key(self, run: EvalRun) -> AsyncIterator[str]:
        """Yield the key by which the notebook's kernel acts for the owner; it ends with the run."""
        async with self._database.stores(run.owner_id) as stores:
            key, secret = await stores.api_keys.create(
                f"evaluation {run.id}",
                [Scope.custom_lab_infer, Scope.custom_lab_memory],
                expires_at=datetime.now(UTC) + KEY_LIFETIME,
            )
        try:
            yield secret
        finally:
            async with self._database.stores(run.owner_id) as stores:
                await stores.api_keys.delete(key.id)

    async def _update(self, run: EvalRun, **fields: Any) -> None:
        async with self._database.stores(run.owner_id) as stores:
            await stores.eval_runs.update(run.id, **fields)


def _ending(run: EvalRun, work: asyncio.Task[Outcome]) -> dict[str, Any]:
    """Return what is written down of a run whose work is done."""
    if work.cancelled():
        reason = "The process that ran it ended; start it again."
        return {"status": RunStatus.interrupted, "error": reason}
    if (error := work.exception()) is None:
        outcome = work.result()
        status = RunStatus.failed if outcome.error else RunStatus.completed
        return {"status": status, "error": outcome.error, "metrics": outcome.metrics}
    if isinstance(error, LabError):
        return {"status": RunStatus.failed, "error": str(error)}
    log.error("an evaluation failed", run=str(run.id), exc_info=error)
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return {"status": RunStatus.failed, "error": reason}
