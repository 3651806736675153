"""The clock on a real PostgreSQL: it fires once, and late rather than never."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
import psycopg
import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from lab.db import Database
from lab.evals.clock import Clock, is_ticking
from lab.schemas.evaluation_config import EvaluationConfig
from lab.schemas.schedule import Schedule
from lab.schemas.user import User
from tests.integration.conftest import until_somebody_waits
from tests.ports import free_port

pytestmark = pytest.mark.integration

YEARLY = "0 0 1 1 *"


class Fired(list[UUID]):
    """Notes what a clock starts."""

    async def start(self, owner_id: UUID, schedule_id: UUID) -> None:
        self.append(schedule_id)


@pytest.fixture
async def schedule(database: Database, owner: User) -> Schedule:
    async with database.stores(owner.id) as stores:
        return await stores.schedules.create("yearly", YEARLY, "long_memory")


@asynccontextmanager
async def ticking(database: Database, url: str, fired: Fired) -> AsyncIterator[Clock]:
    clock = Clock(database, url, fired.start, EvaluationConfig())
    task = asyncio.create_task(clock.run())
    try:
        yield clock
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until(met: Callable[[], object], timeout_s: float = 15) -> None:
    async with asyncio.timeout(timeout_s):
        while not met():
            await asyncio.sleep(0.05)


async def reread(database: Database, schedule: Schedule) -> Schedule:
    async with database.stores(schedule.owner_id) as stores:
        return await stores.schedules.get(schedule.id)


async def make_overdue(database: Database, url: str, schedule: Schedule, by: timedelta) -> None:
    """Let a clock learn the schedule, then pretend that its time passed while no clock ran."""
    async with ticking(database, url, Fired()) as clock:
        await until(lambda: clock.ticks)
        scheduler: AsyncIOScheduler = clock._scheduler()
        scheduler.start(paused=True)
        scheduler.modify_job(str(schedule.id), next_run_time=datetime.now(UTC) - by)
        scheduler.shutdown()


async def test_a_schedule_learns_when_it_is_due(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    async with ticking(database, database_url, Fired()) as clock:
        await until(lambda: clock.ticks)

    due = (await reread(database, schedule)).next_run_at
    assert due == datetime(datetime.now(UTC).year + 1, 1, 1, tzinfo=UTC)


async def test_a_time_that_passed_while_no_clock_ran_fires_once(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    await make_overdue(database, database_url, schedule, timedelta(minutes=5))
    fired = Fired()

    async with ticking(database, database_url, fired):
        await until(lambda: fired)
        await asyncio.sleep(0.5)

    assert fired == [schedule.id]


async def test_a_time_that_passed_too_long_ago_is_let_go(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    await make_overdue(database, database_url, schedule, timedelta(days=2))
    fired = Fired()

    async with ticking(database, database_url, fired) as clock:
        await until(lambda: clock.ticks)
        await asyncio.sleep(0.5)

    assert fired == []


async def test_of_two_clocks_only_one_fires(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    await make_overdue(database, database_url, schedule, timedelta(minutes=5))
    fired = Fired()

    async with (
        ticking(database, database_url, fired) as one,
        ticking(database, database_url, fired) as other,
    ):
        await until(lambda: fired)
        await asyncio.sleep(0.5)
        assert {one.ticks, other.ticks} == {True, False}

    assert fired == [schedule.id]


@pytest.mark.parametrize("change", ["pause", "delete"])
async def test_what_was_paused_or_deleted_meanwhile_does_not_fire(
    change: str, database: Database, database_url: str, schedule: Schedule
) -> None:
    await make_overdue(database, database_url, schedule, timedelta(minutes=5))
    async with database.stores(schedule.owner_id) as stores:
        if change == "pause":
            await stores.schedules.update(schedule.id, enabled=False)
        else:
            await stores.schedules.delete(schedule.id)
    fired = Fired()

    async with ticking(database, database_url, fired) as clock:
        await until(lambda: clock.ticks)
        await asyncio.sleep(0.5)

    assert fired == []


async def test_a_schedule_that_is_deleted_under_the_clock_does_not_stop_it(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    async with await psycopg.AsyncConnection.connect(database_url) as other:
        await other.execute("DELETE FROM schedules WHERE id = %s", [schedule.id])
        async with ticking(database, database_url, Fired()) as clock:
            await until_somebody_waits(other)  # it listed the schedule and wants to change it
            await other.commit()

            await until(lambda: clock.ticks)


async def test_whether_a_clock_ticks_anywhere_is_known(
    database: Database, database_url: str
) -> None:
    before = await is_ticking(database)
    async with ticking(database, database_url, Fired()) as clock:
        await until(lambda: clock.ticks)
        during = await is_ticking(database)

    assert (before, during, await is_ticking(database)) == (False, True, False)


async def test_a_new_expression_changes_the_time(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    async with ticking(database, database_url, Fired()) as clock:
        await until(lambda: clock.ticks)
        async with database.stores(schedule.owner_id) as stores:
            await stores.schedules.update(schedule.id, cron="0 0 2 1 *")
        async with asyncio.timeout(10):
            while (await reread(database, schedule)).next_run_at.day != 2:  # type: ignore[union-attr]
                await asyncio.sleep(0.1)


async def test_a_clock_that_lost_its_connection_ticks_again(
    database: Database, database_url: str, schedule: Schedule
) -> None:
    async with ticking(database, database_url, Fired()) as clock:
        await until(lambda: clock.ticks)
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )
        await until(lambda: not clock.ticks)

        await until(lambda: clock.ticks)


async def test_a_killed_scheduler_is_replaced_by_the_one_that_waits(database_url: str) -> None:
    first, second = free_port(), free_port()
    one = await start_scheduler(database_url, first)
    try:
        await answers(first, ticks=True)
        other = await start_scheduler(database_url, second)
        try:
            await answers(second, ticks=False)
            os.kill(one.pid, signal.SIGKILL)
            await answers(second, ticks=True)
        finally:
            other.terminate()
            assert await other.wait() == 0
    finally:
        await one.wait()


async def start_scheduler(database_url: str, port: int) -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lab.evals.scheduler"),
        env={
            "PATH": os.environ["PATH"],
            "LAB_DATABASE_URL": database_url,
            "LAB_SERVER_SCHEDULER_PORT": str(port),
        },
        stdout=DEVNULL,
    )


async def answers(port: int, *, ticks: bool) -> None:
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while True:
            with suppress(httpx.TransportError):
                response = await client.get(f"http://127.0.0.1:{port}/healthz")
                if response.status_code == 200 and response.json()["ticks"] is ticks:
                    return
            await asyncio.sleep(0.1)
