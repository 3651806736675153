"""Chat turns with everything that happens in them, for the lab's own clients."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.deps import CallerDep, RuntimeDep, require_for
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event

router = APIRouter(prefix="/v1/turns", tags=["chat"])


@router.post(
    "",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def create_turn(turn: ChatTurn, runtime: RuntimeDep, caller: CallerDep) -> StreamingResponse:
    """Answer one turn; its events come as Server-Sent Events while they happen."""
    events = runtime.chat(require_for(turn, caller), turn)
    # The first event is awaited here: what is refused gets its own status, not a stream.
    first = await anext(events)
    return StreamingResponse(_stream(first, events), media_type="text/event-stream")


async def _stream(first: Event, events: AsyncGenerator[Event, None]) -> AsyncIterator[str]:
    """Yield events; a client that goes away closes this, and with it the run."""
    async with aclosing(events):
        yield _sse(first)
        async for event in events:
            yield _sse(event)


def _sse(event: Event) -> str:
    return f"data: {event.model_dump_json()}\n\n"
