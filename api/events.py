"""Server-Sent Events of something that is made step by step."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Protocol

from api.errors import error_body
from lab.errors import LabError


class Told(Protocol):
    """An event with its type."""

    @property
    def type(self) -> str:
        """What happened."""
        ...

    def model_dump_json(self) -> str:
        """Return all of it."""
        ...


async def event_stream(begun: Told, events: AsyncGenerator[Told, None]) -> AsyncIterator[str]:
    """Yield events, the first of which is there; a client that goes away closes this."""
    async with aclosing(events):
        yield _sse(begun)
        try:
            async for event in events:
                yield _sse(event)
        except LabError as error:
            failed = error_body(str(error), error.status, error.code)
            yield f"data: {json.dumps(failed, ensure_ascii=False)}\n\n"


def _sse(event: Told) -> str:
    return f"event: {event.type}\ndata: {event.model_dump_json()}\n\n"
