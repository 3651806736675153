"""
The lab's clock: starts evaluations when their schedules are due.

The `schedules` table is the one source of truth. APScheduler keeps in its own table only when each
is due next, so that a time that passed while nothing ran is noticed later. An advisory lock of
PostgreSQL lets one clock tick at a time; others wait for it to let go.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import structlog
from apscheduler.job import Job
from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy import create_engine

from lab.db import Database
from lab.db.connection import connect, conninfo, place
from lab.db.failures import translated
from lab.errors import DatabaseError, InputError, NotFoundError
from lab.evals.cron import parse_cron
from lab.schemas.evaluation_config import EvaluationConfig
from lab.schemas.schedule import Schedule

LOCK = 4_711_130_415
"""Key of the advisory lock that the ticking clock holds."""
SYNC_INTERVAL_S = 2.0
"""How soon a new or changed schedule is noticed."""

Start = Callable[[UUID, UUID], Awaitable[None]]

log = structlog.get_logger(__name__)
_start: ContextVar[Start] = ContextVar("start")


async def fire(owner_id: str, schedule_id: str) -> None:
    """Start the evaluation of a schedule; APScheduler calls this by its stored name."""
    await _start.get()(UUID(owner_id), UUID(schedule_id))


class Clock:
    """
    Ticks while it holds the lock.

    Parameters
    ----------
    database : Database
        Where schedules are kept.
    url : str
        URL of that database, for the lock and for APScheduler.
    start : callable
        Starts the evaluation of an owner's schedule.
    config : EvaluationConfig
        How late a missed schedule may still run.

    Attributes
    ----------
    ticks : bool
        True while this clock is the one that fires.
    seen_at : datetime or None
        When the database last answered.
    """

    def __init__(
        self, database: Database, url: str, start: Start, config: EvaluationConfig
    ) -> None:
        self._database = database
        self._url = url
        self._start = start
        self._config = config
        self.ticks = False
        self.seen_at: datetime | None = None

    async def run(self) -> None:
        """Wait for the lock, then fire schedules; begin again when the database was away."""
        _start.set(self._start)
        while True:
            try:
                with translated(place(self._url)):
                    async with self._lock() as connection:
                        await self._tick(connection)
            except DatabaseError as error:
                log.warning("the clock lost the database", error=str(error))
            await asyncio.sleep(SYNC_INTERVAL_S)

    @contextlib.asynccontextmanager
    async def _lock(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Hold the lock; it goes with the connection, however this process ends."""
        async with await connect(self._url, timeout_s=SYNC_INTERVAL_S) as connection:
            while not await _try_lock(connection):
                self.seen_at = datetime.now(UTC)
                await asyncio.sleep(SYNC_INTERVAL_S)
            yield connection

    async def _tick(self, connection: psycopg.AsyncConnection[Any]) -> None:
        scheduler = self._scheduler()
        scheduler.start(paused=True)  # what was deleted meanwhile must not fire
        log.info("the clock ticks")
        try:
            while True:
                await connection.execute("SELECT 1")  # fails when the lock is lost
                await self._sync(scheduler)
                if not self.ticks:
                    self.ticks = True
                    scheduler.resume()
                self.seen_at = datetime.now(UTC)
                await asyncio.sleep(SYNC_INTERVAL_S)
        finally:
            self.ticks = False
            scheduler.shutdown(wait=False)

    async def _sync(self, scheduler: AsyncIOScheduler) -> None:
        """Give every enabled schedule a job with its times, and no other."""
        async with self._database.accounts() as accounts:
            schedules = await accounts.schedules()
        jobs: dict[str, Job] = {job.id: job for job in scheduler.get_jobs()}
        for gone in jobs.keys() - {str(s.id) for s in schedules if s.enabled}:
            jobs[gone].remove()
        for schedule in schedules:
            job = jobs.get(str(schedule.id))
            if schedule.enabled and (job is None or job.name != schedule.cron):
                job = _add_job(scheduler, schedule)
            due = job.next_run_time if job and schedule.enabled else None
            if due != schedule.next_run_at:
                with contextlib.suppress(NotFoundError):  # deleted since it was listed
                    async with self._database.stores(schedule.owner_id) as stores:
                        await stores.schedules.update(schedule.id, next_run_at=due)

    def _scheduler(self) -> AsyncIOScheduler:
        # SQLAlchemy's own URL would lose what a libpq URL can say, such as a socket's folder.
        engine = create_engine(
            "postgresql+psycopg://",
            creator=lambda: psycopg.connect(conninfo(self._url)),
            pool_pre_ping=True,
        )
        return AsyncIOScheduler(
            jobstores={"default": SQLAlchemyJobStore(engine=engine)},
            timezone=UTC,
            job_defaults={
                "coalesce": True,
                "max_instances": 1,
                "misfire_grace_time": self._config.misfire_grace_s,
            },
        )


def _add_job(scheduler: AsyncIOScheduler, schedule: Schedule) -> Job | None:
    """Make or replace the job of a schedule; its name is the expression it was made from."""
    try:
        trigger = parse_cron(schedule.cron)
    except InputError as error:
        log.warning("a schedule is wrong", schedule=str(schedule.id), error=str(error))
        return None
    return scheduler.add_job(
        "lab.evals.clock:fire",
        trigger,
        args=[str(schedule.owner_id), str(schedule.id)],
        id=str(schedule.id),
        name=schedule.cron,
        replace_existing=True,
    )


async def is_ticking(database: Database) -> bool:
    """Return whether a clock holds the lock, here or elsewhere, so that schedules fire."""
    with database.guarded():
        async with database.pool.connection() as connection:
            found = await connection.execute(
                """
                SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (classid::bigint << 32) + objid::bigint = %s
                """,
                [LOCK],
            )
            return found.rowcount > 0


async def _try_lock(connection: psycopg.AsyncConnection[Any]) -> bool:
    cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])
