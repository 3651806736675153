"""
The schema of the database, step by step.

Each file of `versions` is one step and is never edited after a release. To change the schema,
change `lab.db.tables` and add a step; a test compares the two.
"""

import asyncio
import time
from importlib.resources import files

from alembic import command
from alembic.config import Config
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from psycopg import AsyncConnection
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection

from lab.db.connection import connect, conninfo, one_off_engine, place
from lab.db.isolation import admit, require_ownership
from lab.db.time_series import make_months
from lab.errors import DatabaseError

LEAST_VECTOR = (0, 8)
"""The first that looks on in an index while rows are sorted out."""
LOCK = 0x6C6162
"""Key of the advisory lock under which one process migrates."""


async def upgrade(url: str, *, connect_timeout_s: float = 10, timeout_s: float = 60) -> None:
    """
    Bring a database to the newest schema; safe to call many times and by many processes at once.

    Parameters
    ----------
    url : str
        SQLAlchemy or libpq URL of the database.
    connect_timeout_s : float
        Seconds to wait for a connection.
    timeout_s : float
        Seconds to wait for another process that is migrating.

    Raises
    ------
    DatabaseError
        If the database does not answer, lacks pgvector, belongs to another user, or stays locked.
    """
    async with await connect(url, timeout_s=connect_timeout_s) as connection:
        await _lock(connection, place(url), timeout_s)
        await _require_vector(connection)
        await require_ownership(connection, place(url))
        await _make_vector(connection, place(url))
        async with one_off_engine(url, timeout_s=connect_timeout_s).begin() as migrating:
            await migrating.run_sync(_to_head)
        await admit(connection)
        await make_months(connection)
        async with AsyncPostgresSaver.from_conn_string(conninfo(url)) as checkpoints:
            await checkpoints.setup()


def configuration(connection: Connection) -> Config:
    """Return Alembic's configuration for the lab's steps, on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(files("lab.db.migrations")))
    config.attributes["connection"] = connection
    return config


def _to_head(connection: Connection) -> None:
    command.upgrade(configuration(connection), "head")


async def _lock(connection: AsyncConnection, place: str, timeout_s: float) -> None:
    """
    Take the lock, which ends with the connection.

    It is asked for again and again: a session that waits inside a statement would stop the
    `CREATE INDEX CONCURRENTLY` of LangGraph's own migrations.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])).fetchone()
        if row is not None and row[0]:
            return
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"Another process has been migrating the {place} for {timeout_s:g} s; "
                "end it, or wait and start again."
            )
        await asyncio.sleep(0.05)


async def _require_vector(connection: AsyncConnection) -> None:
    found = await connection.execute(
        "SELECT coalesce(installed_version, default_version) FROM pg_available_extensions"
        " WHERE name = 'vector'"
    )
    row = await found.fetchone()
    if row is None:
        raise DatabaseError(
            "This PostgreSQL has no extension `vector`; install pgvector on its machine (Debian: "
            "the package `postgresql-NN-pgvector`), or unset LAB_DATABASE_URL to use the "
            "embedded server."
        )
    version = str(row[0])
    if tuple(int(number) for number in version.split(".")[:2]) < LEAST_VECTOR:
        raise DatabaseError(
            f"This PostgreSQL has pgvector {version}, and the lab needs 0.8 or newer; install it "
            "on its machine and let an administrator run `ALTER EXTENSION vector UPDATE` here."
        )


async def _make_vector(connection: AsyncConnection, place: str) -> None:
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except InsufficientPrivilege as error:
        raise DatabaseError(
            f"The {place} lacks the extension `vector`, which its user may not make; let an "
            "administrator run `CREATE EXTENSION vector` in it."
        ) from error
