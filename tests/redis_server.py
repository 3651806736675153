"""
A real Redis for tests: Debian's `redis-server`, on a free port of this machine.

redis_server   one that runs, and can be killed, frozen and started again
"""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NoConnection

from tests.ports import free_port

__all__ = ["RedisServer", "redis_server"]

PASSWORD = "correct-horse-battery"


class RedisServer:
    """
    A Redis with a password, which keeps what it wrote to its file when it is killed.

    Parameters
    ----------
    folder : Path
        Where its file is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    async def start(self) -> None:
        self._process = subprocess.Popen(
            [
                *("redis-server", "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--dir", str(self.folder), "--save", "", "--requirepass", PASSWORD),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(10), self.client() as client:
            while True:
                try:
                    await client.ping()
                    return
                except NoConnection:
                    await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._process = None

    def freeze(self, *, frozen: bool = True) -> None:
        """Let it keep its connections and answer nothing, or go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def client(self) -> Redis:
        return Redis.from_url(self.url, decode_responses=True)

    async def contents(self) -> dict[str, str]:
        """Return every key with what it holds."""
        async with self.client() as client:
            found: dict[str, str] = {}
            async for key in client.scan_iter():
                is_set = await client.type(key) == "set"
                found[key] = str(await (client.smembers(key) if is_set else client.get(key)))
            return found


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path)
    await server.start()
    yield server
    await server.kill()
