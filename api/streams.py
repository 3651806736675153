"""Answers that come piece by piece, as Server-Sent Events."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.disconnect import unless_gone
from api.errors import error_body
from lab.errors import LabError
from lab.schemas.event import Event

LAST_POSITION: Final = 2**31 - 1
"""Of an event, the largest that PostgreSQL compares."""

PieceT = TypeVar("PieceT", bound=BaseModel)


class Typed(Protocol):
    """A piece that says its type."""

    @property
    def type(self) -> str:
        """What happened."""
        ...

    def model_dump_json(self) -> str:
        """Return all of it."""
        ...


def sse(piece: BaseModel) -> str:
    """Return a piece as an event."""
    return f"data: {piece.model_dump_json()}\n\n"


def named(piece: Typed) -> str:
    """Return a piece as an event of its type."""
    return f"event: {piece.type}\ndata: {piece.model_dump_json()}\n\n"


def numbered(event: Event) -> str:
    """
    Return an event of a run with its position as id.

    From there a browser that lost the connection goes on by itself (`Last-Event-ID`).
    """
    return f"id: {event.position}\n{sse(event)}"


def event_stream(
    events: AsyncGenerator[Event, None], begun: Sequence[Event] = ()
) -> StreamingResponse:
    """Return the events of a run as a stream, after those that are there; as `streamed` ends."""
    return StreamingResponse(_lines(begun, events, numbered), media_type="text/event-stream")


async def streamed(
    http: Request, pieces: AsyncGenerator[PieceT, None], line: Callable[[PieceT], str] = sse
) -> StreamingResponse:
    """
    Return the stream of what comes, once its first piece is there.

    What is refused before has a status of its own; what fails later is the last event. A client
    that goes away closes the generator.
    """
    begun = await unless_gone(http, anext(pieces))
    return StreamingResponse(_lines([begun], pieces, line), media_type="text/event-stream")


async def _lines(
    begun: Sequence[PieceT], pieces: AsyncGenerator[PieceT, None], line: Callable[[PieceT], str]
) -> AsyncIterator[str]:
    async with aclosing(pieces):
        for piece in begun:
            yield line(piece)
        try:
            async for piece in pieces:
                yield line(piece)
        except LabError as error:
            failed = error_body(str(error), error.status, error.code)
            yield f"data: {json.dumps(failed, ensure_ascii=False)}\n\n"
