"""Research goes on after `kill -9`: no finished step runs twice, and the report is the same."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx
import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from tests.api_server import key_of
from tests.integration.conftest import execute
from tests.integration.test_research import World
from tests.ports import free_port
from tests.web import LocalWeb, lighthouse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("LAB_TEST_KILLS", "3"))
MOST_WAIT_S = 2.5
"""Until a lab that works is killed."""
ASKED = "When was the lighthouse of Norderhaven lit? Who was the first keeper of it?"


@pytest.fixture
def world() -> Iterator[World]:
    sites = lighthouse.chronicle(), lighthouse.gazette(), lighthouse.trap()
    sites[0].answers["/keepers"] = lighthouse.slow(
        0.4,
        sites[0].answers["/keepers"].body,  # type: ignore[union-attr,arg-type]
    )
    with LocalWeb(*sites), LocalWeb(lighthouse.engine(lighthouse.hits(*sites))) as web:
        yield World(*sites, web.sites[0])


@asynccontextmanager
async def serving(
    url: str, world: World, folder: Path, port: int
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `lab serve` until it is killed or the block ends; it answers when the block begins."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
    environment = {
        **ours,
        **world.settings(folder),
        "LAB_DATABASE_URL": url,
        "LAB_SERVER_PORT": str(port),
        "LAB_CHAT_THREADS": "1",
    }
    lab = str(Path(sys.executable).with_name("lab"))
    process = await asyncio.create_subprocess_exec(
        lab, "serve", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def until_ready(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(120), httpx.AsyncClient(trust_env=False) as client:
        while True:
            assert process.returncode is None
            try:
                answer = await client.get(f"http://127.0.0.1:{port}/readyz")
            except httpx.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 200:
                return
            await asyncio.sleep(0.1)


async def finished(url: str) -> dict[UUID, tuple[Any, ...]]:
    """Return the steps that are done, with when and what."""
    rows = await execute(
        url, "SELECT id, finished_at, result, kind FROM research_steps WHERE status = 'completed'"
    )
    return {id: tuple(rest) for id, *rest in rows}


async def read_pages(url: str) -> set[str]:
    """Return the addresses of which it is stored what came of them."""
    rows = await execute(
        url, "SELECT url FROM search_results WHERE page_id IS NOT NULL OR failure IS NOT NULL"
    )
    return {address for (address,) in rows}


async def n_usage(url: str) -> int:
    """Return how many answers of models were booked."""
    return int((await execute(url, "SELECT count(*) FROM usage"))[0][0])


async def test_research_that_is_killed_at_random_moments_gives_the_same_report(
    world: World, database: Database, database_url: str, owner: User
) -> None:
    key = await key_of(database, owner)
    chance, n_kills, n_tasks = random.Random(20261127), 0, 0
    with TemporaryDirectory(prefix="lab-") as name:
        folder, port = Path(name), free_port()
        expected, citations, n_models = await undisturbed(world, database_url, folder, port, key)
        while n_kills < KILLS:
            await execute(
                database_url,
                "TRUNCATE research_tasks, web_pages, runs, usage, checkpoints, checkpoint_blobs,"
                " checkpoint_writes CASCADE",
            )
            for site in (world.chronicle, world.gazette, world.trap):
                site.asked.clear()
            n_kills += await disturbed(
                world, database_url, folder, port, key, chance, n_left=KILLS - n_kills
            )
            n_tasks += 1
            (report,) = await execute(database_url, "SELECT report FROM research_tasks")
            cited = await cited_in(database_url)

            assert report[0] == expected
            assert cited == citations
            assert await n_usage(database_url) == n_models
            lost = await execute(database_url, "SELECT status FROM research_tasks")
            assert lost == [("completed",)]
    assert n_kills == KILLS


async def test_who_follows_is_carried_over_a_kill(
    world: World, database: Database, database_url: str, owner: User
) -> None:
    key, port = await key_of(database, owner), free_port()
    kinds: list[str] = []
    with TemporaryDirectory(prefix="lab-") as name:
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(serving(database_url, world, Path(name), port))
            await until_ready(port, first)
            lab = await stack.enter_async_context(connect(f"http://127.0.0.1:{port}", key))
            task = await lab.research.start(ASKED)
            events = await stack.enter_async_context(aclosing(lab.research.follow(task.id)))
            async for event in events:
                kinds.append(event.type.value)
                if len(kinds) == 4:
                    first.kill()
                    await first.wait()
                    again = serving(database_url, world, Path(name), port)
                    await stack.enter_async_context(again)
            details = await lab.research.get(task.id)

    assert details.task.status is RunStatus.completed
    assert kinds.count("run_started") == 2
    assert kinds.count("run_interrupted") <= 1  # its last second is gone with the lab
    assert kinds[-1] == "run_completed"


async def undisturbed(
    world: World, url: str, folder: Path, port: int, key: str
) -> tuple[str, list[Any], int]:
    """Return the report, what it cites, and how often models answered."""
    async with serving(url, world, folder, port) as process:
        await until_ready(port, process)
        async with connect(f"http://127.0.0.1:{port}", key) as lab:
            details = await lab.research.ask(ASKED)
    assert details.task.report is not None
    assert all(one.verified for one in details.citations)
    return details.task.report, await cited_in(url), await n_usage(url)


async def cited_in(url: str) -> list[Any]:
    """Return what is cited, without what is named anew in each lab."""
    columns = 'position, number, claim, url, quote, start, "end", sha256, score, verified'
    return await execute(url, f"SELECT {columns} FROM research_citations ORDER BY position")


async def disturbed(
    world: World,
    url: str,
    folder: Path,
    port: int,
    key: str,
    chance: random.Random,
    n_left: int,
) -> int:
    """Let one task be done by labs that are killed; return how many were, at most `n_left`."""
    n_kills, asked = 0, False
    while True:
        done, pages = await finished(url), await read_pages(url)
        n_booked, counted = await n_usage(url), Counter(world.paths())
        async with serving(url, world, folder, port) as process:
            await until_ready(port, process)
            async with connect(f"http://127.0.0.1:{port}", key) as lab:
                if not asked:
                    await lab.research.start(ASKED)
                    asked = True
                is_done = await worked(lab, chance.random() * MOST_WAIT_S, n_left > n_kills)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        later = await finished(url)
        assert {id: later[id] for id in done} == done, "a finished step was done again"
        assert await n_usage(url) >= n_booked
        after = Counter(world.paths())
        assert {page: after[page] for page in pages} == {page: counted[page] for page in pages}
        if is_done:
            return n_kills
        n_kills += 1


async def worked(lab: Lab, wait_s: float, may_be_killed: bool) -> bool:
    """Let a lab work for a while, or until it is done; return whether it is."""
    async with asyncio.timeout(300):
        end = asyncio.get_running_loop().time() + wait_s
        while True:
            (task,) = await lab.research.list()
            assert task.status in (RunStatus.running, RunStatus.completed), task
            if task.status is RunStatus.completed:
                return True
            if may_be_killed and asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(0.02)
