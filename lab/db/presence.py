"""Labs at work on a database: each holds a lock there, so a new one knows whether it is alone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from psycopg import AsyncConnection, OperationalError
from psycopg.conninfo import make_conninfo

from lab.db.connection import connect, conninfo, place
from lab.db.failures import translated
from lab.errors import DatabaseError

LOCK = 0x6C6163
"""Key of the advisory lock: shared by all who are present, held alone by one that was alone."""
# A node that lost its power says no goodbye; both ends find out within a minute.
KEEPALIVES = {"idle": 30, "interval": 10, "count": 3}
RETRY_S = 0.5

log = structlog.get_logger(__name__)


@asynccontextmanager
async def present(
    url: str,
    *,
    timeout_s: float,
    when_alone: Callable[[], Awaitable[object]],
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
    timeout_s : float
        Seconds to wait for a connection.
    when_alone : callable
        Called first when nobody else is present; who comes meanwhile waits for its end.
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
            if alone := await _is_alone(connection):
                await when_alone()
            await _share(connection)
            if alone:
                await connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    except BaseException:
        await connection.close()
        raise
    keeper = asyncio.create_task(_keep(connection, url, timeout_s, meanwhile), name="presence")
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.wait([keeper])
        await connection.close()  # a keeper that was cancelled before its first step did not


async def _keep(
    connection: AsyncConnection,
    url: str,
    timeout_s: float,
    meanwhile: Callable[[AsyncConnection[Any]], Awaitable[object]],
) -> None:
    """Hold the lock for ever; while the connection is lost, whoever starts takes us for gone."""
    while True:
        try:
            with suppress(OperationalError):
                await _share(connection)
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


async def _is_alone(connection: AsyncConnection) -> bool:
    """Return whether nobody else is present; the lock is then ours alone."""
    row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])).fetchone()
    return row is not None and bool(row[0])


async def _share(connection: AsyncConnection) -> None:
    """Hold the lock together with others."""
    await connection.execute("SELECT pg_advisory_lock_shared(%s)", [LOCK])
