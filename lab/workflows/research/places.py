"""Places to work at: so many in all, and no more of them for one person."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary


class Places:
    """
    Places that are given to whoever came first, of each person.

    Parameters
    ----------
    n : int
        In all.
    n_each : int
        That one person may hold.
    """

    def __init__(self, n: int, n_each: int) -> None:
        self._n_each = n_each
        self._all = asyncio.Semaphore(n)
        # Gone with the last who holds or waits for one of a person's.
        self._of: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    def is_free(self, owner_id: UUID) -> bool:
        """Return whether a person would get a place at once."""
        theirs = self._of.get(owner_id)
        return not self._all.locked() and (theirs is None or not theirs.locked())

    @asynccontextmanager
    async def one(self, owner_id: UUID) -> AsyncIterator[None]:
        """Hold a place, once there is one."""
        theirs = self._of.get(owner_id)
        if theirs is None:
            theirs = self._of[owner_id] = asyncio.Semaphore(self._n_each)
        async with theirs, self._all:
            yield
