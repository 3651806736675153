"""Stop work whose client is gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from fastapi import Request


async def unless_gone(request: Request, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; cancel it when the client disconnects. The body must have been read."""
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})
    working.result()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
