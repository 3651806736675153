"""Conversations and their messages."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from api.deps import InferDep, MemoryDep, RuntimeDep
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_request import ConversationRequest
from lab.schemas.conversation_state import ConversationState
from lab.schemas.conversation_update import ConversationUpdate
from lab.schemas.fork_request import ForkRequest
from lab.schemas.message import Message
from lab.schemas.message_request import MessageRequest
from lab.schemas.summary import Summary

router = APIRouter(prefix="/v1/conversations", tags=["conversations"])

Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows to return.")]
Before = Annotated[UUID | None, Query(description="Only rows older than this one.")]


@router.post("", status_code=201)
async def create_conversation(
    request: ConversationRequest, runtime: RuntimeDep, owner: MemoryDep
) -> Conversation:
    """Open a conversation."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.conversations.create(request.title)


@router.get("")
async def list_conversations(
    runtime: RuntimeDep, owner: MemoryDep, limit: Limit = 50, before: Before = None
) -> list[Conversation]:
    """Return conversations, the one used last first."""
    most = min(limit, runtime.settings.config.limits.max_conversation_page)
    async with runtime.database.stores(owner.id) as stores:
        return await stores.conversations.list(most, before)


@router.get("/{conversation_id}")
async def get_conversation(
    conversation_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> Conversation:
    """Return one conversation."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.conversations.get(conversation_id)


@router.patch("/{conversation_id}")
async def change_conversation(
    conversation_id: UUID, update: ConversationUpdate, runtime: RuntimeDep, owner: MemoryDep
) -> Conversation:
    """Give a conversation another title, share it with everybody in the lab, or end that."""
    return await runtime.change_conversation(owner, conversation_id, update)


@router.post("/{conversation_id}/title")
async def retitle_conversation(
    conversation_id: UUID, runtime: RuntimeDep, owner: MemoryDep, asker: InferDep
) -> Conversation:
    """Name a conversation by what was said last in it, which takes a key that may ask models."""
    return await runtime.retitle(owner, conversation_id)


@router.delete("/{conversation_id}", status_code=204)
async def delete_conversation(conversation_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a conversation with its messages and memories."""
    await runtime.delete_conversation(owner, conversation_id)


@router.post("/{conversation_id}/fork", status_code=201)
async def fork_conversation(
    conversation_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    request: ForkRequest | None = None,
) -> Conversation:
    """Open a conversation with the first turns of this one, which stays as it is."""
    return await runtime.histories.fork(owner, conversation_id, request or ForkRequest())


@router.get("/{conversation_id}/states")
async def list_states(
    conversation_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[UUID | None, Query(description="Only states before this one.")] = None,
) -> list[ConversationState]:
    """Return the states after each step of its last turns, newest first."""
    return await runtime.histories.states(owner, conversation_id, limit=limit, before=before)


@router.post("/{conversation_id}/messages", status_code=201)
async def create_messages(
    conversation_id: UUID, request: MessageRequest, runtime: RuntimeDep, owner: MemoryDep
) -> list[Message]:
    """Store messages with their embeddings, without an answer."""
    return await runtime.store_messages(owner, conversation_id, request.messages)


@router.get("/{conversation_id}/messages")
async def list_messages(
    conversation_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Limit = 200,
    before_position: Annotated[int | None, Query(ge=0, description="Only earlier ones.")] = None,
) -> list[Message]:
    """Return the newest messages before a position, oldest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.messages.list(conversation_id, limit, before_position)


@router.get("/{conversation_id}/messages/{message_id}")
async def get_message(
    conversation_id: UUID, message_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> Message:
    """Return one message."""
    return await runtime.message(owner, conversation_id, message_id)


@router.delete("/{conversation_id}/messages/{message_id}", status_code=204)
async def delete_message(
    conversation_id: UUID, message_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> None:
    """Delete one message with its memory and the summaries of it."""
    await runtime.message(owner, conversation_id, message_id)
    await runtime.forgetting.message(owner, message_id)


@router.get("/{conversation_id}/summaries")
async def list_summaries(
    conversation_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Limit = 200,
    level: Annotated[int | None, Query(ge=1, le=4, description="Only those of this level.")] = None,
    before_position: Annotated[
        int | None, Query(ge=0, description="Only those that begin earlier.")
    ] = None,
) -> list[Summary]:
    """Return the newest summaries before a position, the earliest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.summaries.list(conversation_id, limit, level, before_position)


@router.post("/{conversation_id}/summaries")
async def summarise_conversation(
    conversation_id: UUID, runtime: RuntimeDep, owner: MemoryDep
) -> list[Summary]:
    """Write now what is due, and return the highest summaries that together cover what any does."""
    return await runtime.summarise(owner, conversation_id)
