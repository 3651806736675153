"""The database: one pool of connections, and a transaction for each piece of work."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from hashlib import sha256
from typing import Self
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from lab.db.accounts import Accounts
from lab.db.changes import Changes, Moment, read_identity, read_moment
from lab.db.connection import connect, conninfo, place
from lab.db.failures import heeded_cancellation, translated
from lab.db.isolation import enter
from lab.db.models import ModelStore
from lab.db.pool import CheckedPool
from lab.db.presence import present, watched_connection
from lab.db.stores import Stores
from lab.schemas.database_config import DatabaseConfig

CHECK_TIMEOUT_S = 2.0
"""Whoever asks whether the database answers wants to know soon."""


class Database:
    """
    Everything that is remembered, in PostgreSQL.

    Parameters
    ----------
    config : DatabaseConfig
        Size of the pool, how long to wait for a connection, and how large a file may be.
    url : str
        SQLAlchemy or libpq URL of the database.

    Attributes
    ----------
    pool : AsyncConnectionPool
        The connections, for what speaks psycopg itself, as LangGraph's checkpointer does.
    changes : Changes
        What others change is heard there while this process is `attended`.
    """

    def __init__(self, config: DatabaseConfig, url: str) -> None:
        self._url, self._place = url, place(url)
        self._timeout_s = config.connect_timeout_s
        self._max_file_bytes = config.max_file_bytes
        self._number = secrets.randbits(31)
        self.changes = Changes()
        self.pool: CheckedPool[AsyncConnection[DictRow]] = CheckedPool(
            conninfo(url),
            min_size=1,
            max_size=config.pool_size,
            timeout=config.connect_timeout_s,
            # Given up soon, so that the next request tries again without a grown delay.
            reconnect_timeout=config.connect_timeout_s,
            configure=self._configure,
            close_returns=True,
            open=False,
        )
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+psycopg://",
            async_creator=self._connection,
            poolclass=NullPool,
            use_native_hstore=False,
        )

    async def open(self) -> None:
        """
        Connect, waiting for a server that starts or recovers.

        Raises
        ------
        DatabaseError
            If the database does not answer within the configured time, or refuses the user.
        """
        async with await connect(self._url, timeout_s=self._timeout_s):
            await self.pool.open()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
        await self.pool.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    @asynccontextmanager
    async def stores(self, owner_id: UUID) -> AsyncIterator[Stores]:
        """
        Open a transaction on what one user owns; it is kept when the block ends well.

        Row-level security hides everything else from it, whatever a statement asks for.
        """
        async with self._transaction() as session:
            await enter(session, owner_id)
            yield Stores(session, owner_id, self._max_file_bytes)

    @asynccontextmanager
    async def accounts(self) -> AsyncIterator[Accounts]:
        """Open a transaction on the users themselves: the door to people without an owner."""
        async with self._transaction() as session:
            yield Accounts(session)

    @asynccontextmanager
    async def models(self) -> AsyncIterator[ModelStore]:
        """Open a transaction on the models that were added to the lab, which are everybody's."""
        async with self._transaction() as session:
            yield ModelStore(session)

    def attended(self) -> AbstractAsyncContextManager[None]:
        """
        Be at work on this database: close runs that others left open, keep ours, hear of changes.

        Runs that a lab began are left open when it is no more at work, on any node.
        """
        return present(
            self._url,
            self._number,
            timeout_s=self._timeout_s,
            first=self.close_left_runs,
            meanwhile=self.changes.listen,
        )

    async def close_left_runs(self) -> None:
        """Close the open runs of labs that are no more at work on this database."""
        async with self.accounts() as accounts:
            await accounts.mark_interrupted()

    @asynccontextmanager
    async def locked(self, name: str) -> AsyncIterator[bool]:
        """
        Be the only one, on any node, who does what the name says; False when somebody else is.

        The lock is held on a connection of its own and ends with it, so also with a process that
        is killed; no transaction is open meanwhile.
        """
        key = [int.from_bytes(sha256(name.encode()).digest()[:8], signed=True)]
        with self.guarded():
            async with await watched_connection(self._url, self._timeout_s) as connection:
                asked = await connection.execute("SELECT pg_try_advisory_lock(%s)", key)
                held = await asked.fetchone() == (True,)
                try:
                    yield held
                finally:
                    # Closing lets go too, but only some time after it: others must know at once.
                    if held:
                        await connection.execute("SELECT pg_advisory_unlock(%s)", key)

    async def check(self) -> None:
        """Ask the database for an answer; raise `DatabaseError` when there is none."""
        with self.guarded():
            async with self.pool.connection(timeout=min(self._timeout_s, CHECK_TIMEOUT_S)):
                pass  # the pool hands out a connection only when it answers

    async def moment(self) -> Moment:
        """Return the moment that the database is at."""
        with self.guarded():
            async with self.pool.connection() as connection:
                return await read_moment(connection)

    async def identity(self) -> str:
        """Return what no other database has, on this server or another; a copy has another."""
        with self.guarded():
            async with self.pool.connection() as connection:
                return await read_identity(connection)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise the lab's errors for what the database reports to a user of `pool`."""
        with translated(self._place), heeded_cancellation():
            yield

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncSession]:
        with self.guarded():
            async with (
                AsyncSession(self._engine, expire_on_commit=False) as session,
                session.begin(),
            ):
                yield session

    async def _connection(self) -> AsyncConnection[DictRow]:
        return await self.pool.getconn()

    async def _configure(self, connection: AsyncConnection[DictRow]) -> None:
        """Compile nothing, as no statement runs long enough for that to pay; sign what we write."""
        await connection.execute("SET jit = off")
        await connection.execute("SELECT set_config('lab.number', %s, false)", [str(self._number)])
        await connection.commit()
