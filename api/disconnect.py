"""Stop work whose client is gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

T = TypeVar("T")

GONE = 499
"""The status that logs and metrics know such a request by; its client never sees it."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """
    Return what the work does; cancel it when the client disconnects. The body must have been read.

    Raises
    ------
    HTTPException
        If the client disconnected.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    if working.cancelled():
        raise HTTPException(GONE, "The client left before it was answered.")
    return working.result()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
