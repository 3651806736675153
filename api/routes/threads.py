"""
Threads of the Agent Protocol: conversations, as programs see them.

Answers leave out what there is not, as the protocol has it.
"""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.agent_protocol.messages import chat_messages, thread_message
from api.agent_protocol.threads import STATUSES, state_of, thread_of
from api.deps import MemoryDep, RuntimeDep
from lab.errors import InputError
from lab.runtime import Runtime
from lab.schemas.conversation_state import ConversationState
from lab.schemas.fork_request import ForkRequest
from lab.schemas.if_exists import IfExists
from lab.schemas.thread import Thread
from lab.schemas.thread_create import ThreadCreate
from lab.schemas.thread_history_request import ThreadHistoryRequest
from lab.schemas.thread_patch import ThreadPatch
from lab.schemas.thread_search_request import ThreadSearchRequest
from lab.schemas.thread_state import ThreadState
from lab.schemas.user import User

router = APIRouter(prefix="/v1/threads", tags=["threads"])


@router.post("", response_model_exclude_none=True)
async def create_thread(request: ThreadCreate, runtime: RuntimeDep, owner: MemoryDep) -> Thread:
    """Open a thread; it is a conversation, which the dashboard shows, too."""
    conversation = await runtime.threads.create(
        owner,
        request.thread_id,
        request.metadata,
        may_exist=request.if_exists is IfExists.do_nothing,
    )
    return await _thread(runtime, owner, conversation.id)


@router.post("/search", response_model_exclude_none=True)
async def search_threads(
    request: ThreadSearchRequest, runtime: RuntimeDep, owner: MemoryDep
) -> list[Thread]:
    """Return threads without their messages, the one used last first."""
    async with runtime.database.stores(owner.id) as stores:
        found = await stores.threads.search(
            details=request.metadata,
            ids=request.ids,
            statuses=None if request.status is None else STATUSES[request.status],
            limit=request.limit,
            offset=request.offset,
        )
    return [thread_of(conversation, last) for conversation, last in found]


@router.get("/{thread_id}", response_model_exclude_none=True)
async def get_thread(thread_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Thread:
    """Return a thread with its messages."""
    async with runtime.database.stores(owner.id) as stores:
        conversation = await stores.conversations.get(thread_id)
        last = await stores.threads.status(thread_id)
        return thread_of(conversation, last, await stores.messages.list(thread_id))


@router.patch("/{thread_id}", response_model_exclude_none=True)
async def change_thread(
    thread_id: UUID, patch: ThreadPatch, runtime: RuntimeDep, owner: MemoryDep
) -> Thread:
    """Set keys of its metadata, and add messages without an answer; GET returns all messages."""
    if others := patch.values.keys() - {"messages"}:
        raise InputError(f"`values`: a thread has `messages` alone, got `{min(others)}`.")
    added = patch.values.get("messages", [])
    if not isinstance(added, list):
        raise InputError("`values.messages`: expected a list of messages.")
    messages = chat_messages([*added, *patch.messages])
    async with runtime.database.stores(owner.id) as stores:
        await stores.conversations.get(thread_id)
        await stores.threads.merge_details(thread_id, patch.metadata)
    if messages:
        await runtime.store_messages(owner, thread_id, messages)
    return await _thread(runtime, owner, thread_id)


@router.delete("/{thread_id}", status_code=204)
async def delete_thread(thread_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a thread with its messages and what is remembered of them."""
    await runtime.delete_conversation(owner, thread_id)


@router.post("/{thread_id}/copy", response_model_exclude_none=True)
async def copy_thread(thread_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Thread:
    """Open a thread with the messages and memories of another one."""
    fork = await runtime.histories.fork(owner, thread_id, ForkRequest())
    return await _thread(runtime, owner, fork.id)


@router.get("/{thread_id}/history", response_model_exclude_none=True)
async def list_history(
    thread_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
    before: UUID | None = None,
) -> list[ThreadState]:
    """Return the states after each step of its last runs, newest first."""
    found = await runtime.histories.states(owner, thread_id, limit=limit, before=before)
    return await _states(runtime, owner, thread_id, found)


@router.post("/{thread_id}/history", response_model_exclude_none=True)
async def search_history(
    thread_id: UUID, request: ThreadHistoryRequest, runtime: RuntimeDep, owner: MemoryDep
) -> list[ThreadState]:
    """Return the same, as LangGraph's clients ask for it."""
    before = request.before
    if before is not None and not isinstance(before, UUID):
        before = before.checkpoint_id
    found = await runtime.histories.states(owner, thread_id, limit=request.limit, before=before)
    return await _states(runtime, owner, thread_id, found)


@router.get("/{thread_id}/state", response_model_exclude_none=True)
async def get_state(thread_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> ThreadState:
    """Return the last state of a thread; 409 for one in which nothing ran, or is kept of it."""
    found = await runtime.histories.last(owner, thread_id)
    return (await _states(runtime, owner, thread_id, [found]))[0]


@router.get("/{thread_id}/state/{checkpoint_id}", response_model_exclude_none=True)
async def get_state_at(
    thread_id: UUID, checkpoint_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> ThreadState:
    """Return an earlier state of a thread; 409 for one that is not kept any more."""
    found = await runtime.histories.state(owner, thread_id, checkpoint_id)
    return (await _states(runtime, owner, thread_id, [found]))[0]


async def _thread(runtime: Runtime, owner: User, thread_id: UUID) -> Thread:
    """Return a thread without its messages, however many these are."""
    async with runtime.database.stores(owner.id) as stores:
        conversation = await stores.conversations.get(thread_id)
        return thread_of(conversation, await stores.threads.status(thread_id))


async def _states(
    runtime: Runtime, owner: User, thread_id: UUID, states: Sequence[ConversationState]
) -> list[ThreadState]:
    async with runtime.database.stores(owner.id) as stores:
        conversation = await stores.conversations.get(thread_id)
        messages = await stores.messages.list(thread_id)
    stored = sorted(messages, key=lambda message: message.id)
    said = [thread_message(message) for message in stored]  # once, for all states
    return [state_of(conversation, state, said) for state in states]
