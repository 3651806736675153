"""Chat turns with everything that happens in them, for the lab's own clients."""

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from api.deps import CallerDep, RuntimeDep, require_for
from api.disconnect import unless_gone
from api.opening import opening
from api.streams import event_stream
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.disconnect import Disconnect
from lab.schemas.run_status import RunStatus
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
    """
    Answer one turn; its events come as Server-Sent Events from the first of the answer on.

    A turn that goes on when its client is gone does so from there on, too: before, nobody knows
    which run to follow.
    """
    owner = require_for(turn, caller)
    if turn.on_disconnect is Disconnect.cancel:
        events = runtime.answering.stream(owner, turn)
        return event_stream(events, await opening(http, events))
    run = await unless_gone(http, runtime.answering.begin(owner, turn))
    events = run.follow()
    try:
        return event_stream(events, await opening(http, events))
    except BaseException:
        await run.stop(RunStatus.cancelled)
        raise


@router.post("/window")
async def create_window(
    request: WindowRequest, http: Request, runtime: RuntimeDep, caller: CallerDep
) -> Window:
    """Return what the model would see for a turn; nothing is generated, and nothing stored."""
    owner = require_for(request.turn, caller)
    return await unless_gone(http, runtime.answering.window(owner, request))
