"""Chat completions, as OpenAI's clients speak them."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from api.deps import CallerDep, RuntimeDep, require_for
from api.disconnect import unless_gone
from api.errors import error_body
from api.openai import Completion, turn_of
from api.opening import opening, raise_failure, raise_question
from lab.errors import LabError
from lab.schemas.chat_completion import ChatCompletion
from lab.schemas.chat_completion_request import ChatCompletionRequest
from lab.schemas.event import Event

router = APIRouter(prefix="/v1/chat", tags=["chat"])


@router.post(
    "/completions",
    responses={200: {"model": ChatCompletion, "content": {"text/event-stream": {}}}},
)
async def create_chat_completion(
    request: ChatCompletionRequest, http: Request, runtime: RuntimeDep, caller: CallerDep
) -> Any:
    """Answer one turn; with `stream` as Server-Sent Events while it is generated."""
    completion = Completion(request.model, request.n or 1)
    turn = turn_of(request)
    events = runtime.answering.stream(require_for(turn, caller), turn)
    if not request.stream:
        await unless_gone(http, _take_all(events, completion))
        return JSONResponse(completion.whole())
    begun = await opening(http, events)
    for event in begun:
        raise_question(event)
    usage = request.stream_options is not None and request.stream_options.include_usage
    return StreamingResponse(
        _stream(begun, events, completion, include_usage=usage), media_type="text/event-stream"
    )


async def _take_all(events: AsyncGenerator[Event, None], completion: Completion) -> None:
    async with aclosing(events):
        async for event in events:
            raise_failure(event)
            raise_question(event)
            completion.take(event)


async def _stream(
    begun: list[Event],
    events: AsyncGenerator[Event, None],
    completion: Completion,
    *,
    include_usage: bool,
) -> AsyncIterator[str]:
    """Yield chunks; a client that goes away closes this, and with it the run."""
    async with aclosing(events):
        for event in begun:
            for chunk in completion.take(event):
                yield _sse(chunk)
        try:
            async for event in events:
                raise_failure(event)
                raise_question(event)
                for chunk in completion.take(event):
                    yield _sse(chunk)
            for chunk in completion.last_chunks(include_usage=include_usage):
                yield _sse(chunk)
        except LabError as error:
            yield _sse(error_body(str(error), error.status, error.code))
        yield "data: [DONE]\n\n"


def _sse(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
