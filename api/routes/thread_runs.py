"""
Runs of the Agent Protocol: turns, as programs ask for them.

Answers leave out what there is not, as the protocol has it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from api.agent_protocol.messages import input_of, said_message, thread_message
from api.agent_protocol.runs import STATUSES, result_of, thread_run
from api.agent_protocol.streaming import Translation, stream_of
from api.deps import CallerDep, MemoryDep, RuntimeDep, require
from api.disconnect import unless_gone
from api.opening import raise_failure
from api.streams import LAST_POSITION
from lab.errors import InputError
from lab.runtime import Runtime
from lab.schemas.caller import Caller
from lab.schemas.disconnect import Disconnect
from lab.schemas.run import Run
from lab.schemas.run_status import RunStatus
from lab.schemas.scope import Scope
from lab.schemas.stream_mode import StreamMode
from lab.schemas.thread_message import ThreadMessage
from lab.schemas.thread_run import ThreadRun
from lab.schemas.thread_run_request import ThreadRunRequest
from lab.schemas.thread_run_result import ThreadRunResult
from lab.schemas.thread_run_search import ThreadRunSearch
from lab.schemas.user import User

router = APIRouter(prefix="/v1", tags=["threads"])

THREAD = "/threads/{thread_id}/runs"
STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
Modes = Annotated[
    list[StreamMode | Literal[""]],
    Query(description="What to tell; `values` where nothing is named."),
]
LastEvent = Annotated[int, Header(alias="Last-Event-ID", ge=-1, le=LAST_POSITION)]


@router.post("/runs", response_model_exclude_none=True)
async def create_run(
    request: ThreadRunRequest, response: Response, runtime: RuntimeDep, caller: CallerDep
) -> ThreadRun:
    """Begin a run in the background, of a thread or of none."""
    run = await _begin(runtime, caller, request)
    response.headers["Content-Location"] = _address(run)
    return thread_run(run)


@router.post(THREAD, response_model_exclude_none=True)
async def create_thread_run(
    thread_id: UUID,
    request: ThreadRunRequest,
    response: Response,
    runtime: RuntimeDep,
    caller: CallerDep,
) -> ThreadRun:
    """Begin a run of a thread in the background."""
    return await create_run(_of(thread_id, request), response, runtime, caller)


@router.post("/runs/wait", response_model_exclude_none=True)
async def create_run_and_wait(
    request: ThreadRunRequest,
    http: Request,
    response: Response,
    runtime: RuntimeDep,
    caller: CallerDep,
) -> ThreadRunResult:
    """Begin a run, and return what comes of it; one that fails is answered with its error."""
    run = await unless_gone(http, _begin(runtime, caller, request))
    response.headers["Content-Location"] = _address(run)
    result = _result(runtime, caller.user, run, _asked(request))
    try:
        return await unless_gone(http, result)
    except BaseException:
        if request.on_disconnect is Disconnect.cancel:
            runtime.threads.stop(caller.user, run.id)
        raise


@router.post(THREAD + "/wait", response_model_exclude_none=True)
async def create_thread_run_and_wait(
    thread_id: UUID,
    request: ThreadRunRequest,
    http: Request,
    response: Response,
    runtime: RuntimeDep,
    caller: CallerDep,
) -> ThreadRunResult:
    """Begin a run of a thread, and return what comes of it."""
    asked = _of(thread_id, request)
    return await create_run_and_wait(asked, http, response, runtime, caller)


@router.post("/runs/stream", response_class=StreamingResponse, responses=STREAM)
async def create_run_and_stream(
    request: ThreadRunRequest, http: Request, runtime: RuntimeDep, caller: CallerDep
) -> StreamingResponse:
    """Begin a run, and tell it as Server-Sent Events."""
    run = await unless_gone(http, _begin(runtime, caller, request))
    modes = request.stream_mode if isinstance(request.stream_mode, list) else [request.stream_mode]
    told = _told(runtime, caller.user, run, modes, said=_asked(request))
    return _streamed(
        runtime,
        caller.user,
        run,
        modes,
        told,
        is_cancelled=request.on_disconnect is Disconnect.cancel,
    )


@router.post(THREAD + "/stream", response_class=StreamingResponse, responses=STREAM)
async def create_thread_run_and_stream(
    thread_id: UUID,
    request: ThreadRunRequest,
    http: Request,
    runtime: RuntimeDep,
    caller: CallerDep,
) -> StreamingResponse:
    """Begin a run of a thread, and tell it as Server-Sent Events."""
    return await create_run_and_stream(_of(thread_id, request), http, runtime, caller)


@router.post("/runs/search", response_model_exclude_none=True)
async def search_runs(
    request: ThreadRunSearch, runtime: RuntimeDep, owner: MemoryDep
) -> list[ThreadRun]:
    """Return runs, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        if request.thread_id is not None:
            await stores.conversations.get(request.thread_id)
        found = await stores.threads.runs(
            conversation_id=request.thread_id,
            details=request.metadata,
            statuses=None if request.status is None else STATUSES[request.status],
            profile=request.agent_id,
            limit=request.limit,
            offset=request.offset,
        )
    return [thread_run(run) for run in found]


@router.get(THREAD, response_model_exclude_none=True)
async def list_runs(
    thread_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 10,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> list[ThreadRun]:
    """Return the runs of a thread, newest first."""
    request = ThreadRunSearch(thread_id=thread_id, limit=limit, offset=offset)
    return await search_runs(request, runtime, owner)


@router.get(THREAD + "/{run_id}", response_model_exclude_none=True)
async def get_run(
    thread_id: UUID, run_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> ThreadRun:
    """Return a run of a thread."""
    return thread_run(await runtime.threads.run(owner, run_id, thread_id))


@router.get(THREAD + "/{run_id}/wait", response_model_exclude_none=True)
@router.get(THREAD + "/{run_id}/join", response_model_exclude_none=True)
async def wait_for_thread_run(
    thread_id: UUID, run_id: UUID, http: Request, runtime: RuntimeDep, owner: MemoryDep
) -> ThreadRunResult:
    """Wait until a run has ended, and return what came of it."""
    run = await runtime.threads.run(owner, run_id, thread_id)
    return await unless_gone(http, _result(runtime, owner, run))


@router.get("/runs/{run_id}/wait", response_model_exclude_none=True)
async def wait_for_run(
    run_id: UUID, http: Request, runtime: RuntimeDep, owner: MemoryDep
) -> ThreadRunResult:
    """Wait until a run has ended, and return what came of it."""
    run = await runtime.threads.run(owner, run_id)
    return await unless_gone(http, _result(runtime, owner, run))


@router.get(THREAD + "/{run_id}/stream", response_class=StreamingResponse, responses=STREAM)
async def stream_run(
    thread_id: UUID,
    run_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    stream_mode: Modes = [],  # noqa: B006
    cancel_on_disconnect: bool = False,
    last_event_id: LastEvent = -1,
) -> StreamingResponse:
    """Tell a run from its beginning, or after `Last-Event-ID`, while it goes on and afterwards."""
    run = await runtime.threads.run(owner, run_id, thread_id)
    modes = [mode for mode in stream_mode if mode] or [StreamMode.values]
    told = _told(runtime, owner, run, modes, read=last_event_id)
    return _streamed(runtime, owner, run, modes, told, is_cancelled=cancel_on_disconnect)


@router.post(THREAD + "/{run_id}/cancel", status_code=204)
async def cancel_run(
    thread_id: UUID,
    run_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    wait: Annotated[bool, Query(description="It is always waited for.")] = False,
    action: Annotated[
        Literal["interrupt"],
        Query(description="What was answered so far stays; `rollback` is not done here."),
    ] = "interrupt",
) -> None:
    """Cancel a run of a thread; one that has ended stays as it is."""
    await runtime.threads.run(owner, run_id, thread_id)
    await runtime.running.stop(owner.id, run_id, RunStatus.cancelled)


@router.delete(THREAD + "/{run_id}", status_code=204)
async def delete_thread_run(
    thread_id: UUID, run_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> None:
    """Delete a run of a thread that has ended, with its events; what was said stays."""
    await runtime.threads.delete_run(owner, run_id, thread_id)


@router.delete("/runs/{run_id}", status_code=204)
async def delete_run(run_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a run that has ended, with its events; what was said stays."""
    await runtime.threads.delete_run(owner, run_id)


def _of(thread_id: UUID, request: ThreadRunRequest) -> ThreadRunRequest:
    """Return a request for the thread that its address names."""
    if request.thread_id not in {None, thread_id}:
        raise InputError("`thread_id` names another thread than the address; leave it out.")
    return request.model_copy(update={"thread_id": thread_id})


async def _begin(runtime: Runtime, caller: Caller, request: ThreadRunRequest) -> Run:
    owner = require(Scope.custom_lab_infer, caller)
    require(Scope.custom_lab_memory, caller)
    messages = input_of(request.input, request.messages)
    return await runtime.threads.begin(owner, request, messages)


def _asked(request: ThreadRunRequest) -> list[ThreadMessage]:
    """Return what a run without a thread was asked, as its messages begin."""
    return [said_message(message) for message in input_of(request.input, request.messages)]


def _translation(
    runtime: Runtime,
    owner: User,
    run: Run,
    modes: Sequence[StreamMode],
    said: Sequence[ThreadMessage],
) -> Translation:
    async def load(last: UUID, has_ended: bool) -> list[ThreadMessage]:
        assert run.conversation_id is not None, "only messages of a thread are stored"
        async with runtime.database.stores(owner.id) as stores:
            messages = await stores.messages.list(run.conversation_id)
        return [
            thread_message(message)
            for message in messages
            # What a cancelled run had answered is stored, and no event tells of it.
            if message.id <= last or (has_ended and message.run_id == run.id)
        ]

    return Translation(run, modes, load, () if run.conversation_id else said)


async def _result(
    runtime: Runtime, owner: User, run: Run, said: Sequence[ThreadMessage] = ()
) -> ThreadRunResult:
    """Return what comes of a run, once it has ended."""
    translation = _translation(runtime, owner, run, (), said)
    async with aclosing(runtime.running.follow(owner.id, run.id)) as events:
        async for event in events:
            raise_failure(event)
            await translation.take(event)
    ended = await runtime.threads.run(owner, run.id)
    return result_of(ended, await translation.result(), translation.asks)


def _told(
    runtime: Runtime,
    owner: User,
    run: Run,
    modes: Sequence[StreamMode],
    *,
    said: Sequence[ThreadMessage] = (),
    read: int = -1,
) -> AsyncGenerator[str, None]:
    translation = _translation(runtime, owner, run, modes, said)
    return stream_of(translation, runtime.running.follow(owner.id, run.id), read)


def _streamed(
    runtime: Runtime,
    owner: User,
    run: Run,
    modes: Sequence[StreamMode],
    told: AsyncGenerator[str, None],
    *,
    is_cancelled: bool,
) -> StreamingResponse:
    """
    Return what is told as a stream.

    Its headers say which run it is and, of a thread, where to go on after a lost connection; of a
    run that is cancelled with its connection, nobody can.
    """

    async def lines() -> AsyncIterator[str]:
        has_ended = False
        try:
            async with aclosing(told):
                async for text in told:
                    yield text
            has_ended = True
        finally:
            if is_cancelled and not has_ended:
                runtime.threads.stop(owner, run.id)

    headers = {"Content-Location": _address(run)}
    if run.conversation_id is not None and not is_cancelled:
        query = "&".join(f"stream_mode={mode.value}" for mode in modes)
        headers["Location"] = f"{_address(run)}/stream?{query}"
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


def _address(run: Run) -> str:
    """Return where a run is found, under the address of the API, as LangGraph's clients read it."""
    thread = f"/threads/{run.conversation_id}" if run.conversation_id else ""
    return f"{thread}/runs/{run.id}"
