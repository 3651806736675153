"""Starts the evaluation of a schedule through the lab's API, in the name of its owner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from lab.db import Database
from lab.errors import LabError, NotFoundError, ServiceError
from lab.schemas.eval_request import EvalRequest
from lab.schemas.run_status import RunStatus
from lab.schemas.schedule import Schedule
from lab.schemas.scope import Scope

KEY_LIFETIME = timedelta(minutes=10)
GOING = frozenset({RunStatus.queued, RunStatus.running})

log = structlog.get_logger(__name__)


class Starter:
    """
    Asks the API to run what a schedule names.

    Parameters
    ----------
    database : Database
        Where schedules and keys are kept.
    api_url : str
        Where the API answers.
    patience_s : float
        How long to try while the API does not answer.
    """

    def __init__(self, database: Database, api_url: str, patience_s: float = 120) -> None:
        self._database = database
        self._api_url = api_url
        self._patience_s = patience_s

    async def start(self, owner_id: UUID, schedule_id: UUID) -> None:
        """
        Start the evaluation, unless its last run still goes on.

        What cannot be started leaves a failed run with the reason, so that its owner sees it.
        """
        try:
            async with self._database.stores(owner_id) as stores:
                schedule = await stores.schedules.get(schedule_id)
                runs = await stores.eval_runs.list()
                if any(run.schedule_id == schedule_id and run.status in GOING for run in runs):
                    log.warning("the last run still goes on", schedule=schedule.name)
                    return
                await stores.schedules.update(schedule_id, last_run_at=datetime.now(UTC))
        except NotFoundError:
            return  # deleted since it became due
        try:
            await self._ask(schedule)
        except LabError as error:
            await self._note_failure(schedule, error)

    async def _ask(self, schedule: Schedule) -> None:
        request = EvalRequest(
            evaluation=schedule.evaluation,
            parameters=schedule.parameters,
            schedule_id=schedule.id,
        )
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(ServiceError),
            stop=stop_after_delay(self._patience_s),
            wait=wait_exponential(max=10),
            reraise=True,
        ):
            with attempt:
                async with self._key(schedule.owner_id) as secret:
                    await _post(f"{self._api_url}/v1/evals/runs", secret, request)
        log.info("started", schedule=schedule.name, evaluation=schedule.evaluation)

    @asynccontextmanager
    async def _key(self, owner_id: UUID) -> AsyncIterator[str]:
        """Yield a key of the owner that ends with the block."""
        async with self._database.stores(owner_id) as stores:
            key, secret = await stores.api_keys.create(
                "schedule", [Scope.custom_lab_infer], datetime.now(UTC) + KEY_LIFETIME
            )
        try:
            yield secret
        finally:
            async with self._database.stores(owner_id) as stores:
                await stores.api_keys.delete(key.id)

    async def _note_failure(self, schedule: Schedule, error: LabError) -> None:
        log.warning("not started", schedule=schedule.name, error=str(error))
        async with self._database.stores(schedule.owner_id) as stores:
            run = await stores.eval_runs.create(
                schedule.evaluation, "", schedule.parameters, schedule_id=schedule.id
            )
            await stores.eval_runs.update(
                run.id,
                status=RunStatus.failed,
                error=f"The schedule could not start it: {error}",
                finished_at=datetime.now(UTC),
            )


async def _post(url: str, secret: str, request: EvalRequest) -> None:
    headers = {"Authorization": f"Bearer {secret}"}
    try:
        async with httpx.AsyncClient(headers=headers, trust_env=False) as client:
            response = await client.post(url, json=request.model_dump(mode="json"))
    except httpx.TransportError as error:
        raise ServiceError(f"The API at {url} does not answer: {error}.") from error
    if response.status_code >= 500:
        raise ServiceError(f"The API answered {response.status_code}: {response.text[:200]}")
    if response.is_error:
        raise LabError(f"The API answered {response.status_code}: {response.text[:500]}")
