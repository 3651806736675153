"""Labs at work on a database: each holds a lock of its own there, so others know who is gone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from psycopg import AsyncConnection, OperationalError
from psycopg.conninfo import make_conninfo
from sqlalchemy import ColumnElement, cast, column, func, select, table
from sqlalchemy.dialects.postgresql import OID
from sqlalchemy.orm import InstrumentedAttribute

from lab.db.connection import connect, conninfo, place
from lab.db.failures import translated
from lab.errors import DatabaseError

WORK = 0x6C6163
"""First key of the advisory locks of those at work; the second is their number."""
# A node that lost its power says no goodbye; both ends find out within a minute.
KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}
RETRY_S = 0.5

log = structlog.get_logger(__name__)


def at_work(number: InstrumentedAttribute[int | None]) -> ColumnElement[bool]:
    """Return the condition that the lab of that number is at work on this database."""
    lock = table("pg_locks", *map(column, ("locktype", "database", "classid", "objid")))
    database = table("pg_database", column("oid"), column("datname"))
    here = select(database.c.oid).where(database.c.datname == func.current_database())
    held = select(lock).where(
        lock.c.locktype == "advisory",
        lock.c.database == here.scalar_subquery(),
        lock.c.classid == cast(WORK, OID),
        lock.c.objid == cast(number, OID),
    )
    return held.exists()


@asynccontextmanager
async def present(
    url: str,
    number: int,
    *,
    timeout_s: float,
    first: Callable[[], Awaitable[object]],
    meanwhile: Callable[[AsyncConnection[Any]], Awaitable[object]],
) -> AsyncIterator[None]:
    """
    Be seen at work on a database, by labs on every node.

    The lock is held on a connection of its own: it ends with the process, however that ends, and is
    taken again when the connection was lost.

    Parameters
    ----------
    url : str
        SQLAlchemy or libpq URL of the database.
    number : int
        Of this lab, in [0, 2**31): nobody else's.
    timeout_s : float
        Seconds to wait for a connection.
    first : callable
        Called when others see us, before anything else.
    meanwhile : callable
        Called with the connection each time it has the lock; returns, or raises
        `OperationalError`, when the connection is lost.

    Raises
    ------
    DatabaseError
        If the database does not answer.
    """
    connection = await watched_connection(url, timeout_s)
    try:
        with translated(place(url)):
            await _hold(connection, number)
            await first()
    except BaseException:
        await connection.close()
        raise
    keeper = asyncio.create_task(
        _keep(connection, url, number, timeout_s, meanwhile), name="presence"
    )
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await connection.close()  # a keeper that was cancelled before its first step did not


async def _keep(
    connection: AsyncConnection,
    url: str,
    number: int,
    timeout_s: float,
    meanwhile: Callable[[AsyncConnection[Any]], Awaitable[object]],
) -> None:
    """Hold the lock for ever; while the connection is lost, whoever starts takes us for gone."""
    while True:
        try:
            with suppress(OperationalError):
                await _hold(connection, number)
                await meanwhile(connection)
        finally:
            await connection.close()
        log.warning("presence lost", advice="The database went away; it is asked again.")
        connection = await _reconnect(url, timeout_s)


async def _reconnect(url: str, timeout_s: float) -> AsyncConnection:
    while True:
        with suppress(DatabaseError):
            return await watched_connection(url, timeout_s)
        await asyncio.sleep(RETRY_S)


async def watched_connection(url: str, timeout_s: float) -> AsyncConnection:
    """
    Return a connection whose locks end soon after its process or its node is gone.

    Raises
    ------
    DatabaseError
        If the database does not answer.
    """
    ours = {f"keepalives_{name}": value for name, value in KEEPALIVES.items()}
    connection = await connect(make_conninfo(conninfo(url), **ours), timeout_s=timeout_s)
    try:
        with translated(place(url)):
            for name, value in KEEPALIVES.items():
                setting = f"tcp_keepalives_{name}"
                await connection.execute("SELECT set_config(%s, %s, false)", [setting, str(value)])
    except BaseException:
        await connection.close()
        raise
    return connection


async def _hold(connection: AsyncConnection, number: int) -> None:
    """Hold the lock; it is shared, so that our own lost connection is not waited for."""
    await connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", [WORK, number])
