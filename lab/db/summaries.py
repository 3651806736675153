"""What stretches of chats told: from their turns up to a master of the whole chat."""

import builtins
from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, insert, literal, or_, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.conversations import ConversationStore
from lab.db.owned import OwnedStore
from lab.db.tables import ConversationRow, MemoryRow, SummaryRow, SummarySourceRow
from lab.schemas.memory import Memory
from lab.schemas.summary import Summary
from lab.schemas.summary_style import SummaryStyle

MASTER: Final = 4
"""Level of the summary of a whole chat, which grows instead of being joined."""

Sources = Sequence[Memory] | Sequence[Summary]
"""What a summary is made from, the earliest first: memories, or summaries of the level below."""


class SummaryStore(OwnedStore[Summary]):
    """
    Summaries of one user's chats.

    Those of one level never overlap, and each lies whole within one of the next level or in none.
    """

    kind = "summary"
    row = SummaryRow
    entity = Summary

    async def add(
        self,
        sources: Sources,
        *,
        level: int,
        text: str,
        style: SummaryStyle,
        model: str,
        n_tokens: int,
    ) -> Summary | None:
        """
        Store what its sources tell, once; a master takes the place of the shorter one.

        The chat is locked until the transaction ends, so that nothing is deleted meanwhile.

        Returns
        -------
        Summary, optional
            None when a source is no longer what it was when it was read, or another was faster.
        """
        conversation_id = sources[0].conversation_id
        await lock(self._session, self._owner_id, conversation_id)
        if not await self._stand(sources):
            return None
        values = {
            "last_position": _span(sources[-1])[1],
            "text": text,
            "style": style,
            "model": model,
            "n_tokens": n_tokens,
            "said_at": _said_at(sources[-1]),
        }
        statement = postgresql.insert(SummaryRow).values(
            owner_id=self._owner_id,
            conversation_id=conversation_id,
            level=level,
            first_position=_span(sources[0])[0],
            **values,
        )
        id = await self._session.scalar(
            statement.on_conflict_do_update(
                index_elements=[
                    SummaryRow.conversation_id,
                    SummaryRow.level,
                    SummaryRow.first_position,
                ],
                set_={name: statement.excluded[name] for name in values},
                where=SummaryRow.last_position < statement.excluded.last_position,
            ).returning(SummaryRow.id)
        )
        if id is None:
            return None
        await self._name_sources(id, sources)
        return await self.get(id)

    async def list(  # type: ignore[override]  # summaries are listed by chat
        self,
        conversation_id: UUID,
        limit: int | None = None,
        level: int | None = None,
        before_position: int | None = None,
    ) -> builtins.list[Summary]:
        """Return the last summaries of a chat that begin before a position, the earliest first."""
        query = select(SummaryRow).where(*self._of(conversation_id))
        if level is not None:
            query = query.where(SummaryRow.level == level)
        if before_position is not None:
            query = query.where(SummaryRow.first_position < before_position)
        rows = await self._session.scalars(
            query.order_by(SummaryRow.first_position.desc(), SummaryRow.level).limit(limit)
        )
        found = [self._checked(row) for row in rows][::-1]
        if not found:
            await ConversationStore(self._session, self._owner_id).get(conversation_id)
        return found

    async def standing(self, conversation_id: UUID) -> builtins.list[Summary]:
        """Return the highest summaries that together cover all that any covers, in order."""
        levels = await self._session.scalars(
            select(SummaryRow.level).where(*self._of(conversation_id)).distinct()
        )
        found: builtins.list[Summary] = []
        for level in levels:  # of most chats none
            found += [
                self._checked(row) for row, _ in await self._uncovered(conversation_id, level + 1)
            ]
        return sorted(found, key=lambda summary: summary.first_position)

    async def master(self, conversation_id: UUID) -> tuple[Summary, builtins.list[Summary]] | None:
        """Return the master of a chat, with the summaries that it was made from."""
        row = await self._session.scalar(
            select(SummaryRow).where(*self._of(conversation_id), SummaryRow.level == MASTER)
        )
        if row is None:
            return None
        master = self._checked(row)
        ids = [source.source_summary_id for source in master.sources]
        rows = await self._session.scalars(
            select(SummaryRow).where(SummaryRow.id.in_(ids)).order_by(SummaryRow.first_position)
        )
        return master, [self._checked(row) for row in rows]

    async def waiting(
        self, conversation_id: UUID, level: int, limit: int | None
    ) -> tuple[Sources, bool]:
        """
        Return what comes first among that which no summary of a level covers yet.

        Returns
        -------
        sources : sequence of Memory or of Summary
            The earliest that follow each other, up to `limit`.
        left_behind : bool
            True when something later is covered: what covered these is gone.
        """
        rows = await self._uncovered(conversation_id, level, limit)
        if not rows:
            return [], False
        end = rows[0][1]
        entity: type[Memory | Summary] = Memory if level == 1 else Summary
        found = [entity.model_validate(row, from_attributes=True) for row, e in rows if e == end]
        return cast("Sources", found), end is not None

    async def drop(self, conversation_id: UUID, position: int) -> None:
        """
        Delete what tells of a message, on every level; it is written anew without it.

        Call it in the transaction that changes the message, after `lock` and after the change.
        """
        await self._session.execute(
            delete(SummaryRow).where(
                *self._of(conversation_id),
                SummaryRow.first_position <= position,
                SummaryRow.last_position >= position,
            )
        )

    async def drop_all(self, conversation_id: UUID | None = None) -> None:
        """Delete the summaries of one chat, or all."""
        scope = [] if conversation_id is None else [SummaryRow.conversation_id == conversation_id]
        await self._session.execute(
            delete(SummaryRow).where(SummaryRow.owner_id == self._owner_id, *scope)
        )

    async def _uncovered(
        self, conversation_id: UUID, level: int, limit: int | None = None
    ) -> builtins.list[Any]:
        """
        Return what a level does not cover of the one below, each with where it covers again.

        Gaps are looked for between summaries, of which there are few, not for each turn.
        """
        covering = (*self._of(conversation_id), SummaryRow.level == level)
        starts = func.lead(SummaryRow.first_position).over(order_by=SummaryRow.first_position)
        first = select(func.min(SummaryRow.first_position)).where(*covering).scalar_subquery()
        gaps = (
            select(SummaryRow.last_position.label("after"), starts.label("before"))
            .where(*covering)
            .union_all(select(literal(-1), first))
            .subquery()
        )
        of_chat: tuple[ColumnElement[bool], ...]
        if level == 1:
            item, position = MemoryRow, MemoryRow.position
            of_chat = (
                MemoryRow.conversation_id == conversation_id,
                MemoryRow.owner_id == self._owner_id,
            )
        else:
            item, position = SummaryRow, SummaryRow.first_position  # type: ignore[assignment]
            of_chat = (*self._of(conversation_id), SummaryRow.level == level - 1)
        open_end = gaps.c.before.is_(None)
        rows = await self._session.execute(
            select(item, gaps.c.before)
            .join(gaps, (position > gaps.c.after) & or_(open_end, position < gaps.c.before))
            .where(*of_chat, or_(open_end, gaps.c.before > gaps.c.after + 1))
            .order_by(position)
            .limit(limit)
        )
        return builtins.list(rows)

    async def _stand(self, sources: Sources) -> bool:
        row: type[MemoryRow | SummaryRow]
        row = MemoryRow if isinstance(sources[0], Memory) else SummaryRow
        found = await self._session.execute(
            select(row.id, row.text).where(
                row.owner_id == self._owner_id, row.id.in_(_texts(sources))
            )
        )
        return {id: text for id, text in found} == _texts(sources)

    async def _name_sources(self, id: UUID, sources: Sequence[Memory | Summary]) -> None:
        column = "memory_id" if isinstance(sources[0], Memory) else "source_summary_id"
        await self._session.execute(
            delete(SummarySourceRow).where(SummarySourceRow.summary_id == id)
        )
        await self._session.execute(
            insert(SummarySourceRow),
            [
                {"summary_id": id, "position": n, "owner_id": self._owner_id, column: source.id}
                for n, source in enumerate(sources)
            ],
        )

    def _of(self, conversation_id: UUID) -> tuple[ColumnElement[bool], ...]:
        return (
            SummaryRow.owner_id == self._owner_id,
            SummaryRow.conversation_id == conversation_id,
        )


async def lock(session: AsyncSession, owner_id: UUID, conversation_id: UUID | None = None) -> None:
    """
    Hold one chat of an owner, or all, until the transaction ends.

    Whoever stores a summary and whoever changes what it may tell of take this lock first: so the
    one sees what the other did, and neither waits for the other with something in hand.
    """
    scope = [] if conversation_id is None else [ConversationRow.id == conversation_id]
    held = await session.execute(
        select(ConversationRow.id)
        .where(ConversationRow.owner_id == owner_id, *scope)
        .order_by(ConversationRow.id)
        .with_for_update(key_share=True)
    )
    held.all()


def _span(source: Memory | Summary) -> tuple[int, int]:
    if isinstance(source, Memory):
        return source.position, source.position
    return source.first_position, source.last_position


def _said_at(source: Memory | Summary) -> Any:
    return source.created_at if isinstance(source, Memory) else source.said_at


def _texts(sources: Sequence[Memory | Summary]) -> dict[UUID, str]:
    return {source.id: source.text for source in sources}
