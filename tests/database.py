"""
The database of the tests: one embedded PostgreSQL, empty for each test.

database_server     the embedded PostgreSQL of this test session
database_url        URL of its migrated database
database            an open, empty `Database`
owner, other_owner  two users in it
"""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from lab.db import Database, EmbeddedPostgres, upgrade
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.user import User
from tests.ports import free_port

__all__ = ["OS_USER", "database", "database_server", "database_url", "other_owner", "owner"]

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


async def hurry(url: str) -> None:
    """Let the server skip what only matters when the machine loses power."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            await connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        await connection.execute("SELECT pg_reload_conf()")
