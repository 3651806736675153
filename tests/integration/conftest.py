"""
Fixtures of the integration tests.

empty_url           URL of a database of this test's own, without tables
open_folder         a folder that every OS account may enter, which pytest's may not
redis_server        a Redis of its own (see `tests/redis_server.py`)
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from lab.db import EmbeddedPostgres
from lab.db.ids import new_id
from tests.redis_server import redis_server

__all__ = ["redis_server"]

HEAD = "0019"
"""The newest step of the schema."""


@pytest.fixture
async def empty_url(database_server: EmbeddedPostgres) -> AsyncIterator[str]:
    async with empty_database(database_server) as url:
        yield url


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="lab-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@asynccontextmanager
async def empty_database(server: EmbeddedPostgres) -> AsyncIterator[str]:
    """Yield the URL of a new database, which is gone after the block."""
    name = f"test_{new_id().hex}"
    await server.create_database(name)
    yield server.url(name)
    await execute(server.url("postgres"), f"DROP DATABASE {name} WITH (FORCE)")


async def execute(url: str, *statements: str) -> list[Any]:
    """Run statements, each in a transaction of its own; return the rows of the last one."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            found = await connection.execute(statement.encode())
        return await found.fetchall() if found.description else []


async def until_somebody_waits(connection: psycopg.AsyncConnection[Any]) -> None:
    """Wait until a transaction waits for a lock that another one holds."""
    async with asyncio.timeout(60):
        while True:
            found = await connection.execute("SELECT FROM pg_locks WHERE NOT granted")
            if found.rowcount:
                return
            await asyncio.sleep(0.05)
