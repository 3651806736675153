"""Evaluations, their runs and their schedules."""

import builtins
from typing import Any
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.schemas.eval_request import EvalRequest
from lab.schemas.eval_run import EvalRun
from lab.schemas.evaluation import Evaluation
from lab.schemas.schedule import Schedule
from lab.schemas.schedule_request import ScheduleRequest
from lab.schemas.schedule_update import ScheduleUpdate

EVALS = "/v1/evals"
SCHEDULES = "/v1/schedules"


class Evals:
    """Evaluations of the lab, and the user's runs of them."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> list[Evaluation]:
        """Return the evaluations there are, with their parameters."""
        return await self._http.fetch("GET", EVALS, list[Evaluation])

    async def run(self, evaluation: str, **parameters: Any) -> EvalRun:
        """Queue a run; it goes on in the background."""
        request = checked(EvalRequest, evaluation=evaluation, parameters=parameters)
        return await self._http.fetch("POST", f"{EVALS}/runs", EvalRun, body=request)

    async def runs(self, limit: int = 50, before: UUID | None = None) -> builtins.list[EvalRun]:
        """Return runs, newest first."""
        return await self._http.fetch(
            "GET", f"{EVALS}/runs", list[EvalRun], limit=limit, before=before
        )

    async def get(self, run_id: UUID) -> EvalRun:
        """Return one run: how far it is, and what it measured."""
        return await self._http.fetch("GET", f"{EVALS}/runs/{run_id}", EvalRun)

    async def cancel(self, run_id: UUID) -> EvalRun:
        """Stop a run."""
        return await self._http.fetch("POST", f"{EVALS}/runs/{run_id}/cancel", EvalRun)


class Schedules:
    """The user's evaluations by the clock."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(self, name: str, cron: str, evaluation: str, **parameters: Any) -> Schedule:
        """Run an evaluation by a five-field cron expression, in UTC."""
        request = checked(
            ScheduleRequest, name=name, cron=cron, evaluation=evaluation, parameters=parameters
        )
        return await self._http.fetch("POST", SCHEDULES, Schedule, body=request)

    async def list(self, limit: int = 50, before: UUID | None = None) -> list[Schedule]:
        """Return schedules, newest first."""
        return await self._http.fetch("GET", SCHEDULES, list[Schedule], limit=limit, before=before)

    async def get(self, schedule_id: UUID) -> Schedule:
        """Return one schedule."""
        return await self._http.fetch("GET", f"{SCHEDULES}/{schedule_id}", Schedule)

    async def update(self, schedule_id: UUID, update: ScheduleUpdate) -> Schedule:
        """Pause a schedule, go on with it, or change its times or parameters."""
        return await self._http.fetch("PATCH", f"{SCHEDULES}/{schedule_id}", Schedule, body=update)

    async def delete(self, schedule_id: UUID) -> None:
        """Delete a schedule; the runs it started stay."""
        await self._http.delete(f"{SCHEDULES}/{schedule_id}")
