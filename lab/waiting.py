"""Times that stand still while one waits for a place, which is the doing of others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final

_LIMIT: Final[ContextVar[asyncio.Timeout | None]] = ContextVar("limit", default=None)


@asynccontextmanager
async def working_time(seconds: float) -> AsyncIterator[None]:
    """End the block with `TimeoutError` once it took so long, beside waits for places."""
    async with asyncio.timeout(seconds) as limit:
        token = _LIMIT.set(limit)
        try:
            yield
        finally:
            _LIMIT.reset(token)


@asynccontextmanager
async def place_of(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """Wait for a place, and hold it for the block."""
    async with _standing_still():
        await places.acquire()
    try:
        yield
    finally:
        places.release()


@asynccontextmanager
async def _standing_still() -> AsyncIterator[None]:
    limit = _LIMIT.get()
    end = limit.when() if limit else None
    if limit is None or end is None:  # without an end, or it stands still already
        yield
        return
    clock = asyncio.get_running_loop().time
    began = clock()
    limit.reschedule(None)
    try:
        yield
    finally:
        limit.reschedule(end + clock() - began)
