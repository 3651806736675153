"""Research goes on after `kill -9`: no finished step runs twice, and the report is the same."""

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.db.runs import OPEN
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from tests.api_server import key_of
from tests.integration.conftest import execute
from tests.integration.test_research import World, until
from tests.peer_server import Peer, Reply, running_peer, said
from tests.ports import free_port
from tests.web import LocalWeb, lighthouse

pytestmark = [pytest.mark.integration, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("LAB_TEST_KILLS", "3"))
SLEEPING = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
MOST_WAIT_S = 2.5
"""Until a lab that works is killed."""
MOST_START_S = 6.0
"""Until a lab is killed that may not be ready yet."""
EARLY = 0.3
"""Part of the labs that are killed at any moment of their start."""
PLANNED = {"questions": ["How tall is the lighthouse of Norderhaven?"]}
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


@dataclass
class Models:
    """Who plans and sums up: the bundled model, or one elsewhere whose requests are counted."""

    variables: dict[str, str] = field(default_factory=dict)
    peer: Peer | None = None

    def asked(self) -> Counter[str]:
        """Return how often a model was asked for what."""
        kinds: Counter[str] = Counter()
        for request in self.peer.requests if self.peer else []:
            if request.path == "/v1/chat/completions":
                kinds["plan" if request.body.get("response_format") else "synthesise"] += 1
        return kinds


@pytest.fixture(params=["lab-tiny", "elsewhere"])
async def models(request: pytest.FixtureRequest) -> AsyncIterator[Models]:
    if request.param == "lab-tiny":
        yield Models()
        return
    async with running_peer() as peer:
        cards = [{"id": "big", "max_model_len": 8192}]
        peer.answers["/v1/models"] = [Reply(pieces=[json.dumps({"data": cards})])]
        peer.answers["/v1/chat/completions"] = [said(json.dumps(PLANNED))]
        endpoint = {"name": "there", "url": f"{peer.url}/v1", "key": "sk", "kind": "vllm"}
        variables = {
            "LAB_REMOTES_ENDPOINTS": json.dumps([endpoint | {"retries": 0}]),
            "LAB_ROLES_RESEARCH": "there/big",
        }
        yield Models(variables, peer)


@asynccontextmanager
async def serving(
    url: str, world: World, folder: Path, port: int, models: Models | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `lab serve` until it is killed or the block ends; it answers when the block begins."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("LAB_")}
    environment = {
        **ours,
        **world.settings(folder),
        **(models.variables if models else {}),
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


async def done_searches(url: str) -> set[str]:
    """Return the questions whose search is done."""
    rows = await execute(
        url,
        "SELECT question FROM research_steps WHERE kind = 'search' AND status = 'completed'",
    )
    return {question for (question,) in rows}


def searches(world: World) -> Counter[str]:
    """Return how often the engine was asked what."""
    paths = (urlsplit(asked.path) for asked in world.engine.asked)
    return Counter(parse_qs(path.query)["q"][0] for path in paths if path.query)


async def n_usage(url: str) -> int:
    """Return how many answers of models were booked."""
    return int((await execute(url, "SELECT count(*) FROM usage"))[0][0])


async def test_research_that_is_killed_at_random_moments_gives_the_same_report(
    world: World, models: Models, database: Database, database_url: str, owner: User
) -> None:
    key = await key_of(database, owner)
    chance, n_kills = random.Random(20261127), 0
    most = KILLS // 2 if models.peer is None else KILLS - KILLS // 2
    with TemporaryDirectory(prefix="lab-") as name:
        folder, port = Path(name), free_port()
        expected, citations, n_models = await undisturbed(
            world, models, database_url, folder, port, key
        )
        while n_kills < most:
            await execute(
                database_url,
                "TRUNCATE research_tasks, web_pages, runs, usage, checkpoints, checkpoint_blobs,"
                " checkpoint_writes CASCADE",
            )
            for site in (world.chronicle, world.gazette, world.trap, world.engine):
                site.asked.clear()
            if models.peer:
                models.peer.requests.clear()
            n_killed = await disturbed(
                world, models, database_url, folder, port, key, chance, n_left=most - n_kills
            )
            n_kills += n_killed
            counts = [*searches(world).values(), *models.asked().values()]
            assert counts, "another lab did it"
            assert max(counts) <= 1 + n_killed
            (report,) = await execute(database_url, "SELECT report FROM research_tasks")
            cited = await cited_in(database_url)

            assert report[0] == expected
            assert cited == citations
            assert await n_usage(database_url) == n_models
            lost = await execute(database_url, "SELECT status FROM research_tasks")
            assert lost == [("completed",)]
    assert n_kills == most


async def test_a_kill_between_the_report_and_the_end_does_nothing_again(
    world: World, database: Database, database_url: str, owner: User
) -> None:
    key, port = await key_of(database, owner), free_port()
    await execute(
        database_url,
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(600); RETURN NEW; END $$",
        "CREATE TRIGGER wait BEFORE UPDATE ON research_tasks FOR EACH ROW "
        "WHEN (NEW.status = 'completed') EXECUTE FUNCTION wait()",
    )
    with TemporaryDirectory(prefix="lab-") as name:
        try:
            async with serving(database_url, world, Path(name), port) as process:
                await until_ready(port, process)
                async with connect(f"http://127.0.0.1:{port}", key) as lab:
                    task = await lab.research.start(ASKED)
                    await until(lab, task.id, Kind.verify, RunStatus.completed)
                    async with asyncio.timeout(30):
                        while not await execute(database_url, f"SELECT pid {SLEEPING}"):
                            await asyncio.sleep(0.05)
        finally:
            await execute(
                database_url,
                f"SELECT pg_terminate_backend(pid) {SLEEPING}",
                "DROP TRIGGER wait ON research_tasks",
                "DROP FUNCTION wait()",
            )
        done, n_booked = await finished(database_url), await n_usage(database_url)
        counted = (world.paths(), searches(world))
        async with serving(database_url, world, Path(name), port) as process:
            await until_ready(port, process)
            async with connect(f"http://127.0.0.1:{port}", key) as lab:
                assert await worked(lab, 0, may_be_killed=False)
                details = await lab.research.get(task.id)

    assert {step.status for step in details.steps} == {RunStatus.completed}
    assert await finished(database_url) == done
    assert await n_usage(database_url) == n_booked
    assert (world.paths(), searches(world)) == counted


async def test_a_lab_goes_on_with_what_another_leaves(
    world: World, database: Database, database_url: str, owner: User
) -> None:
    key, ports = await key_of(database, owner), (free_port(), free_port())
    with TemporaryDirectory(prefix="lab-") as first, TemporaryDirectory(prefix="lab-") as second:
        async with (
            serving(database_url, world, Path(first), ports[0]) as one,
            serving(database_url, world, Path(second), ports[1]) as two,
        ):
            await until_ready(ports[0], one)
            await until_ready(ports[1], two)
            async with connect(f"http://127.0.0.1:{ports[0]}", key) as lab:
                task = await lab.research.start(ASKED)
                await until(lab, task.id, Kind.gather, RunStatus.running)
            one.kill()
            await one.wait()
            done, counted = await finished(database_url), searches(world)
            async with connect(f"http://127.0.0.1:{ports[1]}", key) as lab:
                assert await worked(lab, 0, may_be_killed=False)
                details = await lab.research.get(task.id)

    assert all(one.verified for one in details.citations)
    assert {id: step for id, step in (await finished(database_url)).items() if id in done} == done
    assert searches(world) == counted


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
    world: World, models: Models, url: str, folder: Path, port: int, key: str
) -> tuple[str, list[Any], int]:
    """Return the report, what it cites, and how often models answered."""
    async with serving(url, world, folder, port, models) as process:
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
    models: Models,
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
        found, searched, n_asked = await done_searches(url), searches(world), models.asked()
        async with serving(url, world, folder, port, models) as process:
            if asked and n_left > n_kills and chance.random() < EARLY:
                await asyncio.sleep(chance.random() * MOST_START_S)
                is_done = False
            else:
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
        assert {one: searches(world)[one] for one in found} == {one: searched[one] for one in found}
        for kind in {kind for *_, kind in done.values()}:
            assert models.asked()[kind] == n_asked[kind]
        if is_done:
            return n_kills
        n_kills += 1


async def worked(lab: Lab, wait_s: float, may_be_killed: bool) -> bool:
    """Let a lab work for a while, or until it is done; return whether it is."""
    async with asyncio.timeout(300):
        end = asyncio.get_running_loop().time() + wait_s
        while True:
            (task,) = await lab.research.list()
            assert task.status in (*OPEN, RunStatus.completed), task.error
            if task.status is RunStatus.completed:
                return True
            if may_be_killed and asyncio.get_running_loop().time() > end:
                return False
            await asyncio.sleep(0.02)
