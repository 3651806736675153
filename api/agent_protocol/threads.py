"""Conversations and their states, as threads."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.agent_protocol.messages import dumped, thread_message
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_state import ConversationState
from lab.schemas.message import Message
from lab.schemas.run_status import RunStatus
from lab.schemas.thread import Thread
from lab.schemas.thread_checkpoint import ThreadCheckpoint
from lab.schemas.thread_message import ThreadMessage
from lab.schemas.thread_state import ThreadState
from lab.schemas.thread_status import ThreadStatus

STATUSES: Final[Mapping[ThreadStatus, frozenset[RunStatus | None]]] = {
    ThreadStatus.idle: frozenset({None, RunStatus.completed, RunStatus.cancelled}),
    ThreadStatus.busy: frozenset({RunStatus.queued, RunStatus.running}),
    ThreadStatus.interrupted: frozenset({RunStatus.interrupted}),
    ThreadStatus.error: frozenset({RunStatus.failed}),
}
"""What a thread is, by where its last run stands."""


def thread_of(
    conversation: Conversation,
    last: RunStatus | None,
    messages: Sequence[Message] | None = None,
) -> Thread:
    """Return a conversation as a thread; without its messages where they were not asked for."""
    said = None if messages is None else [thread_message(message) for message in messages]
    return Thread(
        thread_id=conversation.id,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        metadata=conversation.details,
        status=next(status for status, runs in STATUSES.items() if last in runs),
        values=None if said is None else values_of(said),
        messages=said,
    )


def values_of(messages: Sequence[ThreadMessage]) -> dict[str, Any]:
    """Return the values of a thread."""
    return {"messages": [dumped(message) for message in messages]}


def state_of(
    conversation: Conversation, state: ConversationState, messages: Sequence[ThreadMessage]
) -> ThreadState:
    """
    Return a state of a conversation as one of a thread.

    Parameters
    ----------
    conversation : Conversation
        Whose it is.
    state : ConversationState
        The state.
    messages : sequence of ThreadMessage
        All messages of the conversation, in the order they were stored.
    """
    said = list(messages[: state.n_messages])
    # Without pictures: these are whole in it, and in their messages by their ids.
    window = [message.model_dump(mode="json", exclude={"images"}) for message in state.window]
    return ThreadState(
        checkpoint=ThreadCheckpoint(checkpoint_id=state.checkpoint_id, thread_id=conversation.id),
        parent_checkpoint=None
        if state.parent_id is None
        else ThreadCheckpoint(checkpoint_id=state.parent_id, thread_id=conversation.id),
        values={**values_of(said), "window": window},
        messages=said,
        metadata={"run_id": str(state.run_id)},
        next=state.next,
        created_at=state.created_at,
        tasks=[{"name": name, "interrupts": state.asks} for name in state.next if state.asks],
        interrupts=state.asks,
    )
