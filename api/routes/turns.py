"""Chat turns with everything that happens in them, for the lab's own clients."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from api.deps import CallerDep, RuntimeDep, require_for
from api.disconnect import unless_gone
from api.opening import opening
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.window import Window
from lab.schemas.window_request import WindowRequest

router = APIRouter(prefix="/v1/turns", tags=["chat"])


@router.post(
    "",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def create_turn(
    turn: ChatTurn, http: Request, runtime: RuntimeDep, caller: CallerDep
) -> StreamingResponse:
    """Answer one turn; its events come as Server-Sent Events from the first of the answer on."""
    events = runtime.chat(require_for(turn, caller), turn)
    begun = await opening(http, events)
    return StreamingResponse(_stream(begun, events), media_type="text/event-stream")


@router.post("/window")
async def create_window(
    request: WindowRequest, http: Request, runtime: RuntimeDep, caller: CallerDep
) -> Window:
    """Return what the model would see for a turn; nothing is generated, and nothing stored."""
    owner = require_for(request.turn, caller)
    return await unless_gone(http, runtime.window(owner, request))


async def _stream(begun: list[Event], events: AsyncGenerator[Event, None]) -> AsyncIterator[str]:
    """Yield events; a client that goes away closes this, and with it the run."""
    async with aclosing(events):
        for event in begun:
            yield _sse(event)
        async for event in events:
            yield _sse(event)


def _sse(event: Event) -> str:
    return f"data: {event.model_dump_json()}\n\n"
