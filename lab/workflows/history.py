"""Time travel: the states that a conversation was in, and forks that begin at one."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from langgraph.checkpoint.base import CheckpointTuple

from lab.db import Database
from lab.db.ids import first_id
from lab.errors import ConflictError, InputError, NotFoundError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_state import ConversationState
from lab.schemas.fork_request import ForkRequest
from lab.schemas.user import User
from lab.workflows.composer import Composer
from lab.workflows.resuming import TURN

NEXT: Final = "branch:to:"
"""Begins the names of the channels by which LangGraph starts a step."""
START: Final = "__start__"
_CALENDAR: Final = datetime(1582, 10, 15, tzinfo=UTC)
"""From which UUIDs of version 6 count, in steps of 100 ns."""
INTERRUPT: Final = "__interrupt__"


class Histories:
    """
    The histories of conversations, from the checkpoints of their turns.

    Parameters
    ----------
    database : Database
        Where conversations are.
    composer : Composer
        Keeps the steps of turns.
    """

    def __init__(self, database: Database, composer: Composer) -> None:
        self._database = database
        self._composer = composer

    async def states(
        self,
        owner: User,
        conversation_id: UUID,
        *,
        limit: int | None = None,
        before: UUID | None = None,
    ) -> list[ConversationState]:
        """
        Return the states of a conversation that are kept, newest first.

        Raises
        ------
        NotFoundError
            If it is not the owner's.
        """
        turns = await self._turns(owner, conversation_id)
        steps = await self._composer.steps(conversation_id, before=before, limit=limit)
        return [_state(step, turns) for step in steps if TURN in step.metadata]

    async def state(
        self, owner: User, conversation_id: UUID, checkpoint_id: UUID
    ) -> ConversationState:
        """
        Return one state of a conversation.

        Raises
        ------
        NotFoundError
            If it is not the owner's, or was never in that state.
        ConflictError
            If that state is not kept any more.
        """
        turns = await self._turns(owner, conversation_id)
        found = await self._composer.steps(conversation_id, checkpoint_id=checkpoint_id)
        if found and TURN in found[0].metadata:
            return _state(found[0], turns)
        if await self._is_gone(owner, conversation_id, checkpoint_id):
            raise ConflictError(
                f"The state {checkpoint_id} is not kept any more: steps are of the last turns "
                "alone (`workflow.keep_turns`). Fork the conversation after a message instead."
            )
        raise NotFoundError("state", checkpoint_id)

    async def last(self, owner: User, conversation_id: UUID) -> ConversationState:
        """
        Return the last state of a conversation.

        Raises
        ------
        NotFoundError
            If it is not the owner's.
        ConflictError
            If nothing ran in it, or none of its steps is kept.
        """
        if found := await self.states(owner, conversation_id, limit=1):
            return found[0]
        raise ConflictError(
            f"No state of the conversation {conversation_id} is kept: nothing ran in it yet, or "
            "its steps are gone."
        )

    async def are_there(self, conversation_id: UUID) -> bool:
        """Return whether steps are kept under the id of a conversation."""
        return await self._composer.first_step(conversation_id) is not None

    async def fork(self, owner: User, conversation_id: UUID, request: ForkRequest) -> Conversation:
        """
        Open a conversation with the first turns of another one, which stays as it is.

        Raises
        ------
        NotFoundError
            If it is not the owner's, or has no such message or state.
        ConflictError
            If that state is not kept any more.
        InputError
            If both a message and a state are named.
        """
        before = None
        if request.checkpoint_id is not None:
            if request.message_id is not None:
                raise InputError("Give `message_id` or `checkpoint_id`, not both.")
            state = await self.state(owner, conversation_id, request.checkpoint_id)
            before = after(state.created_at)
        async with self._database.stores(owner.id) as stores:
            return await stores.forks.make(
                conversation_id,
                message_id=request.message_id,
                before=before,
                title=request.title,
            )

    async def _is_gone(self, owner: User, conversation_id: UUID, checkpoint_id: UUID) -> bool:
        """Return whether a state is of the time from which none of the conversation is kept."""
        first = await self._composer.first_step(conversation_id)
        async with self._database.stores(owner.id) as stores:
            conversation = await stores.conversations.get(conversation_id)
        if checkpoint_id.version != 6:
            return False
        since = datetime.now(UTC) if first is None else made_at(first)
        return conversation.created_at < made_at(checkpoint_id) < since

    async def _turns(self, owner: User, conversation_id: UUID) -> list[UUID]:
        """Return the ids of the messages of a conversation, in the order they were stored."""
        async with self._database.stores(owner.id) as stores:
            await stores.conversations.get(conversation_id)
            return sorted(id for id, _ in await stores.forks.turns(conversation_id))


def after(moment: datetime) -> UUID:
    """
    Return what sorts after every id that was made until a moment.

    >>> from datetime import UTC
    >>> after(datetime(2026, 11, 1, microsecond=900, tzinfo=UTC)).int >> 80
    1793491200001
    """
    whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    return first_id(whole + timedelta(milliseconds=1))


def made_at(checkpoint_id: UUID) -> datetime:
    """
    Return when a checkpoint was made, whose id is a UUID of version 6.

    >>> made_at(UUID("1f1ea31f-17b2-6a24-8004-0964f46d4250")).isoformat(timespec="minutes")
    '2026-11-27T07:12+00:00'
    """
    ticks = checkpoint_id.int >> 80 << 12 | checkpoint_id.int >> 64 & 0xFFF
    return _CALENDAR + timedelta(microseconds=ticks // 10)


def _state(step: CheckpointTuple, turns: Sequence[UUID]) -> ConversationState:
    """Return a checkpoint as a state; messages are stored before the checkpoint of their step."""
    checkpoint, values = step.checkpoint, step.checkpoint["channel_values"]
    created_at = datetime.fromisoformat(checkpoint["ts"])
    n_messages = bisect_left(turns, after(created_at))
    began = step.metadata.get("source") == "input"
    return ConversationState(
        checkpoint_id=UUID(checkpoint["id"]),
        parent_id=_id_of(step.parent_config),
        run_id=UUID(str(dict(step.metadata)[TURN])),
        created_at=created_at,
        next=[START] if began else _next(values),
        n_messages=n_messages,
        message_id=turns[n_messages - 1] if n_messages else None,
        window=[] if _is_old(step) else _window(values),
        asks=[
            {"id": ask.id, "value": ask.value}
            for _, channel, asks in step.pending_writes or []
            if channel == INTERRUPT
            for ask in asks
        ],
    )


def _next(values: dict[str, Any]) -> list[str]:
    return [name.removeprefix(NEXT) for name in values if name.startswith(NEXT)]


def _is_old(step: CheckpointTuple) -> bool:
    """Return whether the first step has not run, so that the state is the turn before's."""
    values = step.checkpoint["channel_values"]
    return step.metadata.get("source") == "input" or "remember" in _next(values)


def _window(values: dict[str, Any]) -> list[ChatMessage]:
    return [ChatMessage.model_validate(message) for message in values.get("window", [])]


def _id_of(config: Any) -> UUID | None:
    id = config["configurable"].get("checkpoint_id") if config else None
    return UUID(id) if id else None
