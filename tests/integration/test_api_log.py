"""What the API writes to its log, as `lab up` runs it: one line a request, no trace."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lab.config import load_settings
from lab.supervisor.processes import stages
from tests.api_server import hello
from tests.stack import lab_environment
from tests.tiny_llama import UNGUARDED, save_tiny_llama

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Server:
    """The API in a process of its own."""

    url: str
    log: Path

    def client(self, key: str) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False)

    def written(self) -> str:
        """Return the log so far."""
        return self.log.read_text()


@asynccontextmanager
async def serving_api(folder: Path, database_url: str) -> AsyncIterator[Server]:
    environ = {k: v for k, v in lab_environment(folder).items() if k.startswith("LAB_")}
    endless = save_tiny_llama(folder / "endless", 16_384)
    settings = load_settings(
        environ=environ | {"LAB_CHAT_THREADS": "1", "LAB_CHAT_MODEL": str(endless), **UNGUARDED}
    )
    (spec,) = (s for s in stages(settings, database_url, None)[0] if s.name == "api")
    server = Server(f"http://127.0.0.1:{spec.port}/services/api", folder / "api.log")
    with server.log.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *spec.command, env=dict(spec.environment), cwd=folder, stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(300):
            while not await spec.ready():
                await asyncio.sleep(0.2)
        yield server
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 60)


@pytest.fixture(scope="module")
async def server(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    async with serving_api(tmp_path_factory.mktemp("api"), database_url) as server:
        yield server


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(250):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_is_one_line_without_a_trace(
    server: Server, ann: str, stream: bool
) -> None:
    body = hello(model="default", max_tokens=8000, stream=stream)
    before = server.written()

    async with server.client(ann) as client:

        async def generates() -> bool:
            return "lab_active_streams 1.0" in (await client.get("/metrics")).text

        async def is_noted() -> bool:
            return CHAT in server.written().removeprefix(before)

        asking = asyncio.create_task(client.post(CHAT, json=body))
        await until(generates)
        asking.cancel()
        await asyncio.wait([asking])
        await until(is_noted)

    log = server.written().removeprefix(before)
    assert "Traceback" not in log
    assert log.count(CHAT) == 1


async def test_the_hubs_look_is_answered_and_not_logged(server: Server, ann: str) -> None:
    before = server.written()
    async with server.client(ann) as client:
        looked = await client.get("/")
        # The server has done with a request when it answers the next one of the connection.
        alive = await client.get("/healthz")

    assert (looked.status_code, alive.status_code) == (307, 200)
    assert looked.headers["location"] == "/services/api/docs"
    assert server.written() == before
