"""Chats and their runs as programs look for them: by what they keep with them, and by status."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, cast, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB, insert

from lab.db.conversations import NEW_CHAT
from lab.db.owned import Store
from lab.db.runs import OPEN
from lab.db.summaries import lock
from lab.db.tables import ConversationRow, OwnedRow, RunRow
from lab.errors import ConflictError
from lab.schemas.conversation import Conversation
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus

LAST: Final = (
    select(RunRow.status)
    .where(RunRow.conversation_id == ConversationRow.id)
    .where(RunRow.owner_id == ConversationRow.owner_id)
    .order_by(RunRow.id.desc())
    .limit(1)
    .correlate(ConversationRow)
    .scalar_subquery()
)
"""Status of the last run of a chat."""


class ThreadStore(Store):
    """Chats of one user with where they stand."""

    async def create(
        self, id: UUID | None, details: Mapping[str, Any], *, may_exist: bool = False
    ) -> Conversation:
        """
        Open a chat under an id that a program chose, or any.

        Parameters
        ----------
        id : UUID, optional
            The id.
        details : mapping
            What to keep with it.
        may_exist : bool
            Return the one that the user has under the id already.

        Raises
        ------
        ConflictError
            If the id is taken.
        """
        chosen = {} if id is None else {"id": id}
        row = await self._session.scalar(
            insert(ConversationRow)
            .values(owner_id=self._owner_id, title=NEW_CHAT, details=dict(details), **chosen)
            .on_conflict_do_nothing(index_elements=[ConversationRow.id])
            .returning(ConversationRow)
        )
        if row is None and may_exist:
            row = await self._session.scalar(
                select(ConversationRow).where(
                    ConversationRow.id == id, ConversationRow.owner_id == self._owner_id
                )
            )
        if row is None:
            raise ConflictError(f"The id {id} is taken; choose another, or none.")
        return Conversation.model_validate(row, from_attributes=True)

    async def check_alone(self, conversation_id: UUID) -> None:
        """
        Hold a chat until the transaction ends, in which no run goes on.

        Raises
        ------
        ConflictError
            If one does.
        """
        await lock(self._session, self._owner_id, conversation_id)
        found = await self.runs(conversation_id=conversation_id, statuses=OPEN, limit=1)
        if found:
            raise ConflictError(
                f"The run {found[0].id} goes on in this thread; wait for its end, cancel it, or "
                'ask with `multitask_strategy`: "interrupt".'
            )

    async def ids(self) -> list[UUID]:
        """Return the ids of all chats."""
        found = await self._session.scalars(
            select(ConversationRow.id).where(ConversationRow.owner_id == self._owner_id)
        )
        return list(found)

    async def status(self, conversation_id: UUID) -> RunStatus | None:
        """Return where the last run of a chat stands; None where there was none."""
        found = await self._session.scalar(
            select(LAST).select_from(ConversationRow).where(*self._is(conversation_id))
        )
        return None if found is None else RunStatus(found)

    async def search(
        self,
        *,
        details: Mapping[str, Any] | None = None,
        ids: Sequence[UUID] | None = None,
        statuses: Collection[RunStatus | None] | None = None,
        limit: int = 10,
        offset: int = 0,
    ) -> list[tuple[Conversation, RunStatus | None]]:
        """
        Return chats with where their last runs stand, the chat used last first.

        Parameters
        ----------
        details : mapping, optional
            What they hold of what programs keep with them.
        ids : sequence of UUID, optional
            These alone.
        statuses : collection of RunStatus or None, optional
            Where their last runs stand; None stands for chats without any.
        limit, offset : int
            How many, after leaving out how many.
        """
        query = select(ConversationRow, LAST).where(ConversationRow.owner_id == self._owner_id)
        if details:
            query = query.where(ConversationRow.id.in_(_with(ConversationRow, details)))
        if ids is not None:
            query = query.where(ConversationRow.id.in_(ids))
        if statuses is not None:
            query = query.where(_is_one_of(statuses))
        order = ConversationRow.updated_at.desc(), ConversationRow.id.desc()
        found = await self._session.execute(query.order_by(*order).limit(limit).offset(offset))
        return [
            (
                Conversation.model_validate(row, from_attributes=True),
                None if status is None else RunStatus(status),
            )
            for row, status in found
        ]

    async def runs(
        self,
        *,
        conversation_id: UUID | None = None,
        details: Mapping[str, Any] | None = None,
        statuses: Collection[RunStatus] | None = None,
        profile: str | None = None,
        limit: int = 10,
        offset: int = 0,
    ) -> list[Run]:
        """Return chat runs, newest first: of a chat, with such details, of a profile."""
        query = select(RunRow).where(
            RunRow.owner_id == self._owner_id, RunRow.kind == RunKind.chat.value
        )
        if conversation_id is not None:
            query = query.where(RunRow.conversation_id == conversation_id)
        if details:
            query = query.where(RunRow.id.in_(_with(RunRow, details)))
        if statuses is not None:
            query = query.where(RunRow.status.in_(statuses))
        if profile is not None:
            query = query.where(RunRow.profile == profile)
        rows = await self._session.scalars(
            query.order_by(RunRow.id.desc()).limit(limit).offset(offset)
        )
        return [Run.model_validate(row, from_attributes=True) for row in rows]

    async def merge_details(self, conversation_id: UUID, details: Mapping[str, Any]) -> None:
        """Set keys of what programs keep with a chat; others stay."""
        row = await self._session.scalar(
            select(ConversationRow).where(*self._is(conversation_id)).with_for_update()
        )
        if row is not None:
            row.details = {**row.details, **details}
            await self._session.flush()

    def _is(self, id: UUID) -> tuple[ColumnElement[bool], ...]:
        return ConversationRow.id == id, ConversationRow.owner_id == self._owner_id


def _with(row: type[OwnedRow], details: Mapping[str, Any]) -> Select[Any]:
    """Return the ids of a user's rows with such details, by an index (`0019_threads.py`)."""
    asked = cast(dict(details), JSONB)
    return select(getattr(func, f"{row.__tablename__}_with")(asked))


def _is_one_of(statuses: Collection[RunStatus | None]) -> ColumnElement[bool]:
    named = [status for status in statuses if status is not None]
    found = LAST.in_(named)
    return or_(found, func.coalesce(LAST, "") == "") if None in statuses else found
