"""One connection: URLs of every spelling, retries while the server recovers, errors with advice."""

import asyncio
import re
import time

from psycopg import AsyncConnection, OperationalError, ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from lab.errors import ConfigError, DatabaseError

PASSING = ("starting up", "in recovery mode", "shutting down", "Connection refused", "No such file")
"""What a server says that will answer soon; anything else does not get better by waiting."""


def conninfo(url: str) -> str:
    """
    Return the libpq string for a URL in SQLAlchemy's or libpq's spelling.

    >>> conninfo("postgresql+psycopg://lab@127.0.0.1:5432/lab")
    'user=lab dbname=lab host=127.0.0.1 port=5432'
    """
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url.strip())
    try:
        return make_conninfo("", **conninfo_to_dict(plain))
    except ProgrammingError:
        # Neither the URL nor libpq's message is shown: both may hold the password.
        raise ConfigError(
            "LAB_DATABASE_URL is not the URL of a PostgreSQL; write "
            "`postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, with special characters as %XX."
        ) from None


def place(url: str) -> str:
    """
    Return where a database is, without its password.

    >>> place("postgresql://lab:secret@127.0.0.1:5432/notes")
    'database `notes` at 127.0.0.1:5432 (user `lab`)'
    """
    parts = conninfo_to_dict(conninfo(url))
    host, port = parts.get("host", "localhost"), parts.get("port", 5432)
    return f"database `{parts.get('dbname', '')}` at {host}:{port} (user `{parts.get('user', '')}`)"


async def connect(url: str, *, timeout_s: float, autocommit: bool = True) -> AsyncConnection:
    """
    Open a connection, waiting for a server that starts or recovers.

    Raises
    ------
    DatabaseError
        If the server refuses, or does not answer within `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await AsyncConnection.connect(
                conninfo(url), autocommit=autocommit, connect_timeout=max(2, round(timeout_s))
            )
        except OperationalError as error:
            if not any(word in str(error) for word in PASSING) or time.monotonic() > deadline:
                why = " ".join(str(error).split()).rstrip(".")
                raise DatabaseError(
                    f"No connection to {place(url)}: {why}. Start the database or correct "
                    "LAB_DATABASE_URL."
                ) from error
        await asyncio.sleep(0.1)


def one_off_engine(url: str, *, timeout_s: float) -> AsyncEngine:
    """Return an engine for SQLAlchemy's own tools; it keeps no connection between two uses."""
    return create_async_engine(
        "postgresql+psycopg://",
        async_creator=lambda: connect(url, timeout_s=timeout_s, autocommit=False),
        poolclass=NullPool,
    )
