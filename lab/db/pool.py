"""The pool of connections, none of which is handed out dead."""

import time
from typing import Any, TypeVar

from psycopg import AsyncConnection, OperationalError
from psycopg_pool import AsyncConnectionPool

C = TypeVar("C", bound=AsyncConnection[Any])


class CheckedPool(AsyncConnectionPool[C]):
    """
    A pool that asks the server before it hands out a connection.

    psycopg's own `check` waits longer and longer between dead connections: where a server comes
    back after a restart, all are, and who asks first waits in vain. Here each is replaced at once;
    how often a server that is away is tried is for the pool to say still.
    """

    async def getconn(self, timeout: float | None = None) -> C:
        """Return a connection that answers; raise `PoolTimeout` where none does in time."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while True:
            connection = await super().getconn(max(0.0, deadline - time.monotonic()))
            try:
                await self.check_connection(connection)
            except OperationalError:
                await self.putconn(connection)
            except BaseException:
                await self.putconn(connection)
                raise
            else:
                return connection
