"""
Fixtures of the integration tests.

database_server     the embedded PostgreSQL of this test session
database_url        URL of its migrated database
database            an open, empty `Database`
owner, other_owner  two users in it
empty_url           URL of a database of this test's own, without tables
open_folder         a folder that every OS account may enter, which pytest's may not
redis_server        a Redis of its own (see `tests/redis_server.py`)
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest

from lab.db import Database, EmbeddedPostgres, upgrade
from lab.db.ids import new_id
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.user import User
from tests.redis_server import redis_server

__all__ = ["redis_server"]

HEAD = "0014"
"""The newest step of the schema."""
OS_USER = DatabaseConfig().os_user
TABLES = "users, checkpoints, checkpoint_blobs, checkpoint_writes"


@pytest.fixture(scope="session")
async def database_server() -> AsyncIterator[EmbeddedPostgres]:
    with TemporaryDirectory(prefix="lab-") as folder:
        Path(folder).chmod(0o711)  # the account of the server passes through
        async with EmbeddedPostgres(Path(folder) / "postgres", free_port(), OS_USER).running() as s:
            await hurry(s.url())
            yield s


@pytest.fixture(scope="session")
async def database_url(database_server: EmbeddedPostgres) -> str:
    url = database_server.url()
    await upgrade(url)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
        await connection.execute(f"TRUNCATE {TABLES} CASCADE".encode())
    async with Database(DatabaseConfig(), database_url) as database:
        yield database


@pytest.fixture
async def owner(database: Database) -> User:
    async with database.accounts() as accounts:
        return await accounts.get_or_create("ann")


@pytest.fixture
async def other_owner(database: Database) -> User:
    async with database.accounts() as accounts:
        return await accounts.get_or_create("bob")


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


async def hurry(url: str) -> None:
    """Let the server skip what only matters when the machine loses power."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            await connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        await connection.execute("SELECT pg_reload_conf()")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
