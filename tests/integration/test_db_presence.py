"""Labs at work on one database: open runs are closed only when nobody can be running them."""

import asyncio
import os
import signal
import sys
from uuid import UUID

import pytest

from lab.config import load_settings
from lab.db import Database, upgrade
from lab.db.changes import Changes
from lab.db.presence import LOCK, present
from lab.runtime import open_runtime
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from tests.integration.conftest import execute

pytestmark = pytest.mark.integration

RUNTIME = """
import asyncio, sys
from lab.config import load_settings
from lab.runtime import open_runtime

async def run(url):
    async with open_runtime(load_settings(None, {"LAB_DATABASE_URL": url})):
        print("open", flush=True)
        await asyncio.Event().wait()

asyncio.run(run(sys.stdin.readline().strip()))
"""


@pytest.fixture
async def url(empty_url: str) -> str:
    """Return a migrated database in which no other test is at work."""
    await upgrade(empty_url)
    return empty_url


async def holders(url: str) -> set[int]:
    """Return the server processes that hold the lock."""
    held = (
        "SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory'"
        f" AND objid = {LOCK} AND granted"
    )
    return {pid for (pid,) in await execute(url, held)}


async def start_run(url: str) -> tuple[UUID, UUID]:
    """Open a run; return its owner and it."""
    async with Database(DatabaseConfig(), url) as database:
        async with database.accounts() as accounts:
            owner = await accounts.get_or_create("ann")
        async with database.stores(owner.id) as stores:
            return owner.id, (await stores.runs.create(RunKind.chat, "lab-tiny", {})).id


async def after_another_start(url: str, owner: UUID, run: UUID) -> RunStatus:
    """Open a runtime and return how the run is then."""
    async with (
        open_runtime(load_settings(None, {"LAB_DATABASE_URL": url})) as runtime,
        runtime.database.stores(owner) as stores,
    ):
        return (await stores.runs.get(run)).status


async def test_a_second_runtime_leaves_the_runs_of_the_first_open(url: str) -> None:
    pipe = asyncio.subprocess.PIPE
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNTIME, stdin=pipe, stdout=pipe
    )
    assert first.stdin is not None
    assert first.stdout is not None
    first.stdin.write(f"{url}\n".encode())
    assert await first.stdout.readline() == b"open\n"
    owner, run = await start_run(url)

    assert await after_another_start(url, owner, run) is RunStatus.running

    os.kill(first.pid, signal.SIGKILL)
    await first.communicate()
    async with asyncio.timeout(10):  # until the server has seen the end of the connection
        while await holders(url):
            await asyncio.sleep(0.05)
    assert await after_another_start(url, owner, run) is RunStatus.interrupted


async def test_a_runtime_whose_connection_was_lost_is_seen_again(url: str) -> None:
    async with open_runtime(load_settings(None, {"LAB_DATABASE_URL": url})):
        owner, run = await start_run(url)
        (lost,) = await holders(url)
        await execute(url, f"SELECT pg_terminate_backend({lost})")
        async with asyncio.timeout(10):
            while not await holders(url) - {lost}:
                await asyncio.sleep(0.05)

        assert await after_another_start(url, owner, run) is RunStatus.running

    assert await holders(url) == set()


async def test_of_two_that_start_at_once_one_is_alone(url: str) -> None:
    alone: list[str] = []
    both = asyncio.Barrier(2)

    async def work(name: str) -> None:
        async def tidy() -> None:
            alone.append(name)
            await asyncio.sleep(0.2)
            alone.append(name)

        async with present(url, timeout_s=10, when_alone=tidy, meanwhile=Changes().listen):
            assert len(alone) == 2  # who was second waited
            await both.wait()

    await asyncio.gather(work("one"), work("two"))

    assert len(set(alone)) == 1
