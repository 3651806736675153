"""Turns of chats."""

import builtins
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select, update

from lab.db.conversations import ConversationStore
from lab.db.files import check_attachments
from lab.db.memories import MemoryStore
from lab.db.owned import OwnedStore, plain
from lab.db.summaries import lock
from lab.db.tables import ConversationRow, EventRow, MessageRow, RunRow
from lab.errors import NotFoundError
from lab.messages import Attachment, Part
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.route import Route


class MessageStore(OwnedStore[Message]):
    """Turns of one user's chats."""

    kind = "message"
    row = MessageRow
    entity = Message

    async def add(
        self,
        conversation_id: UUID,
        role: Role,
        parts: Sequence[Part],
        *,
        name: str | None = None,
        run_id: UUID | None = None,
        said_at: datetime | None = None,
    ) -> Message:
        """
        Append a turn to a chat; `said_at` is now where it is not given.

        The chat is locked until the transaction ends, so that turns which arrive at once get
        positions without a gap.

        Raises
        ------
        NotFoundError
            If the chat is not the user's, or a file that a part refers to.
        InputError
            If a part refers to a file of another kind.
        """
        if attachments := [part for part in parts if isinstance(part, Attachment)]:
            await check_attachments(self._session, self._owner_id, attachments)
        position = await self._session.scalar(
            update(ConversationRow)
            .where(
                ConversationRow.id == conversation_id, ConversationRow.owner_id == self._owner_id
            )
            .values(
                next_position=ConversationRow.next_position + 1,
                n_messages=ConversationRow.n_messages + 1,
                updated_at=func.clock_timestamp(),
            )
            .returning(ConversationRow.next_position - 1)
        )
        if position is None:
            raise NotFoundError("conversation", conversation_id)
        return await self._insert(
            conversation_id=conversation_id,
            position=position,
            role=role,
            name=name,
            parts=[plain(part) for part in parts],
            run_id=run_id,
            **({} if said_at is None else {"created_at": said_at}),
        )

    async def delete(self, id: UUID) -> None:
        """
        Delete a turn with its memory, its summaries and what its runs told.

        The others keep their positions.
        """
        message = await self.get(id)
        await lock(self._session, self._owner_id, message.conversation_id)
        await super().delete(id)
        if message.run_id is not None:
            told = delete(EventRow).where(EventRow.run_id.in_(self._turn_of(message.run_id)))
            await self._session.execute(told)
        memories = MemoryStore(self._session, self._owner_id)
        await memories.drop_what_tells_of(message.conversation_id, message.position)
        await self._session.execute(
            update(ConversationRow)
            .where(ConversationRow.id == message.conversation_id)
            .values(n_messages=ConversationRow.n_messages - 1)
        )

    async def note_intent(self, id: UUID, route: Route) -> None:
        """Keep what a turn wants; one that was deleted meanwhile stays so."""
        values = {"intent": route.intent, "intent_confidence": route.confidence}
        await self._changed(values, *self._is(id))

    async def of_run(self, run_id: UUID) -> builtins.list[Message]:
        """Return the turns that a run stored, and those that went on with it, oldest first."""
        runs = select(RunRow.id).where(
            RunRow.owner_id == self._owner_id, or_(RunRow.id == run_id, RunRow.resumes == run_id)
        )
        rows = await self._session.scalars(
            select(MessageRow)
            .where(MessageRow.owner_id == self._owner_id, MessageRow.run_id.in_(runs))
            .order_by(MessageRow.position)
        )
        return [Message.model_validate(row, from_attributes=True) for row in rows]

    def _turn_of(self, run_id: UUID) -> Select[UUID]:
        """Return the runs that were of one turn with a run, itself too."""
        mine = RunRow.owner_id == self._owner_id
        began = (
            select(func.coalesce(RunRow.resumes, RunRow.id))
            .where(mine, RunRow.id == run_id)
            .scalar_subquery()
        )
        return select(RunRow.id).where(mine, or_(RunRow.id == began, RunRow.resumes == began))

    async def list(  # type: ignore[override]  # turns are listed by chat
        self, conversation_id: UUID, limit: int | None = None, before_position: int | None = None
    ) -> builtins.list[Message]:
        """Return the last `limit` turns of a chat before a position, oldest first."""
        query = select(MessageRow).where(
            MessageRow.owner_id == self._owner_id, MessageRow.conversation_id == conversation_id
        )
        if before_position is not None:
            query = query.where(MessageRow.position < before_position)
        rows = await self._session.scalars(query.order_by(MessageRow.position.desc()).limit(limit))
        found = [Message.model_validate(row, from_attributes=True) for row in rows][::-1]
        if not found:
            await ConversationStore(self._session, self._owner_id).get(conversation_id)
        return found
