"""The events of a run as Server-Sent Events."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from fastapi.responses import StreamingResponse

from lab.schemas.event import Event


def event_stream(
    events: AsyncGenerator[Event, None], begun: Sequence[Event] = ()
) -> StreamingResponse:
    """
    Return events as a stream that closes them when its client goes away.

    Each has its position as id, from which a browser that lost the connection goes on by itself
    (`Last-Event-ID`).
    """
    return StreamingResponse(_lines(events, begun), media_type="text/event-stream")


async def _lines(events: AsyncGenerator[Event, None], begun: Sequence[Event]) -> AsyncIterator[str]:
    async with aclosing(events):
        for event in begun:
            yield _sse(event)
        async for event in events:
            yield _sse(event)


def _sse(event: Event) -> str:
    return f"id: {event.position}\ndata: {event.model_dump_json()}\n\n"
