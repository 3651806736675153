"""Labs at work on one database: the open runs of one are closed when it is gone."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from lab.config import load_settings
from lab.db import upgrade
from lab.db.presence import WORK
from lab.runtime import open_runtime
from lab.schemas.run_status import RunStatus
from tests.integration.conftest import execute

pytestmark = pytest.mark.integration

RUNTIME = """
import asyncio, sys
from lab.config import load_settings
from lab.runtime import open_runtime
from lab.schemas.run_kind import RunKind

async def run(url):
    async with open_runtime(load_settings(None, {"LAB_DATABASE_URL": url})) as runtime:
        async with runtime.database.accounts() as accounts:
            owner = await accounts.get_or_create("ann")
        async with runtime.database.stores(owner.id) as stores:
            run = await stores.runs.create(RunKind.chat, "lab-tiny", {})
            evaluation = await stores.eval_runs.create("x", "x.ipynb", {})
        print(owner.id, run.id, evaluation.id, flush=True)
        await asyncio.Event().wait()

asyncio.run(run(sys.stdin.readline().strip()))
"""


@pytest.fixture
async def url(empty_url: str) -> str:
    """Return a migrated database in which no other test is at work."""
    await upgrade(empty_url)
    return empty_url


async def holders(url: str) -> set[int]:
    """Return the server processes that hold the locks of those at work."""
    held = (
        "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory'"
        f" AND classid = {WORK} AND granted"
    )
    return {pid for (pid,) in await execute(url, held)}


@asynccontextmanager
async def other_lab(url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[UUID]]]:
    """Start a lab that works on a run and an evaluation; yield it, their owner, and them."""
    pipe = asyncio.subprocess.PIPE
    lab = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNTIME, stdin=pipe, stdout=pipe
    )
    assert lab.stdin is not None
    assert lab.stdout is not None
    try:
        lab.stdin.write(f"{url}\n".encode())
        yield lab, [UUID(word) for word in (await lab.stdout.readline()).decode().split()]
    finally:
        if lab.returncode is None:
            lab.kill()
        await lab.communicate()


async def until_gone(url: str, n_left: int) -> None:
    """Wait until the server has seen the end of connections, but for so many."""
    async with asyncio.timeout(10):
        while len(await holders(url)) > n_left:
            await asyncio.sleep(0.05)


async def after_another_start(url: str, owner: UUID, run: UUID, evaluation: UUID) -> set[RunStatus]:
    """Open a runtime and return how the runs are then."""
    async with (
        open_runtime(load_settings(None, {"LAB_DATABASE_URL": url})) as runtime,
        runtime.database.stores(owner) as stores,
    ):
        return {
            (await stores.runs.get(run)).status,
            (await stores.eval_runs.get(evaluation)).status,
        }


async def test_runs_of_a_lab_stay_open_until_it_is_gone(url: str) -> None:
    async with other_lab(url) as (lab, work):
        assert await after_another_start(url, *work) == {RunStatus.running, RunStatus.queued}

        os.kill(lab.pid, signal.SIGKILL)
        await lab.communicate()
        await until_gone(url, 0)
        assert await after_another_start(url, *work) == {RunStatus.interrupted}


async def test_runs_of_a_killed_lab_are_closed_while_another_is_at_work(url: str) -> None:
    async with other_lab(url) as (_, alive), other_lab(url) as (killed, left):
        os.kill(killed.pid, signal.SIGKILL)
        await killed.communicate()
        await until_gone(url, 1)

        assert await after_another_start(url, *left) == {RunStatus.interrupted}
        assert await after_another_start(url, *alive) == {RunStatus.running, RunStatus.queued}


async def test_a_lab_whose_connection_was_lost_is_seen_again(url: str) -> None:
    async with other_lab(url) as (_, work):
        (lost,) = await holders(url)
        await execute(url, f"SELECT pg_terminate_backend({lost})")
        async with asyncio.timeout(10):
            while not await holders(url) - {lost}:
                await asyncio.sleep(0.05)

        assert await after_another_start(url, *work) == {RunStatus.running, RunStatus.queued}


async def test_who_closes_well_is_not_at_work_any_more(url: str) -> None:
    async with open_runtime(load_settings(None, {"LAB_DATABASE_URL": url})):
        assert len(await holders(url)) == 1

    assert await holders(url) == set()
