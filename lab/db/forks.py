"""Chats that begin as the first part of another."""

from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, TextClause, Uuid, cast, func, insert, select, text

from lab.db.conversations import NEW_CHAT
from lab.db.ids import new_id
from lab.db.owned import Store
from lab.db.summaries import lock
from lab.db.tables import ConversationRow, MemoryRow, MessageRow
from lab.errors import NotFoundError
from lab.schemas.conversation import Conversation
from lab.schemas.role import Role

FORKED: Final = " (fork)"
MOST_TITLE: Final = 200
"""Characters of a title."""

_MESSAGES: Final = text(
    """
    INSERT INTO messages (id, owner_id, created_at, conversation_id, position, role, name, parts)
    SELECT copy.id, m.owner_id, m.created_at, :fork, m.position, m.role, m.name, m.parts
    FROM unnest(CAST(:sources AS uuid[]), CAST(:copies AS uuid[])) AS copy (source, id)
    JOIN messages m ON m.id = copy.source AND m.owner_id = :owner
    """
)
_MEMORIES: Final = text(
    """
    INSERT INTO memories (id, owner_id, created_at, conversation_id, message_id, position, role,
        name, text, embedding, embedding_model)
    SELECT copy.id, m.owner_id, m.created_at, :fork, said.id, m.position, m.role,
        m.name, m.text, m.embedding, m.embedding_model
    FROM unnest(CAST(:sources AS uuid[]), CAST(:copies AS uuid[])) AS copy (source, id)
    JOIN memories m ON m.id = copy.source AND m.owner_id = :owner
    JOIN messages said ON said.conversation_id = :fork AND said.position = m.position
    """
)
_CONTEXTS: Final = text(
    """
    INSERT INTO memory_contexts (memory_id, owner_id, embedding, embedding_model)
    SELECT copy.id, c.owner_id, c.embedding, c.embedding_model
    FROM unnest(CAST(:sources AS uuid[]), CAST(:copies AS uuid[])) AS copy (source, id)
    JOIN memory_contexts c ON c.memory_id = copy.source AND c.owner_id = :owner
    """
)
_TERMS: Final = text(
    """
    INSERT INTO memory_terms (memory_id, term, owner_id, conversation_id, n_times, n_terms)
    SELECT copy.id, t.term, t.owner_id, :fork, t.n_times, t.n_terms
    FROM unnest(CAST(:sources AS uuid[]), CAST(:copies AS uuid[])) AS copy (source, id)
    JOIN memory_terms t ON t.memory_id = copy.source AND t.owner_id = :owner
    """
)


class ForkStore(Store):
    """Forks of one user's chats."""

    async def make(
        self,
        conversation_id: UUID,
        *,
        message_id: UUID | None = None,
        before: UUID | None = None,
        title: str | None = None,
    ) -> Conversation:
        """
        Open a chat with the first turns of another one, and with their memories as they are.

        The other one stays as it is. What was made of its turns together with later ones, such as
        summaries, is made anew for the fork; runs stay with the chat that they answered in.

        Parameters
        ----------
        conversation_id : UUID
            The other chat.
        message_id : UUID, optional
            The last turn to take along; a call of tools brings their results. All turns where it is
            not given.
        before : UUID, optional
            Take only turns whose id sorts before it, and so were stored earlier.
        title : str, optional
            Name in lists.

        Raises
        ------
        NotFoundError
            If the chat is not the user's, or the turn is none of it.
        """
        await lock(self._session, self._owner_id, conversation_id)
        source = await self._session.scalar(
            select(ConversationRow).where(
                ConversationRow.id == conversation_id, ConversationRow.owner_id == self._owner_id
            )
        )
        if source is None:
            raise NotFoundError("conversation", conversation_id)
        turns = await self.turns(conversation_id, message_id, before)
        last, last_position = turns[-1] if turns else (None, -1)
        row = await self._session.scalar(
            insert(ConversationRow)
            .values(
                owner_id=self._owner_id,
                title=title or _title(source.title),
                next_position=last_position + 1,
                n_messages=len(turns),
                forked_from=conversation_id,
                forked_at=last,
                details=source.details,
            )
            .returning(ConversationRow)
        )
        fork = Conversation.model_validate(row, from_attributes=True)
        await self._copy(fork.id, [id for id, _ in turns], _MESSAGES)
        remembered = await self._session.scalars(
            select(MemoryRow.id)
            .where(
                MemoryRow.owner_id == self._owner_id,
                MemoryRow.conversation_id == conversation_id,
                # One array: of a long chat there are more ids than parameters may be.
                MemoryRow.message_id == func.any(cast([id for id, _ in turns], ARRAY(Uuid))),
            )
            .order_by(MemoryRow.position)
        )
        await self._copy(fork.id, list(remembered), _MEMORIES, _CONTEXTS, _TERMS)
        return fork

    async def turns(
        self, conversation_id: UUID, message_id: UUID | None = None, before: UUID | None = None
    ) -> list[tuple[UUID, int]]:
        """Return the ids and positions of the turns that a fork would take along, in order."""
        mine = (
            MessageRow.owner_id == self._owner_id,
            MessageRow.conversation_id == conversation_id,
        )
        query = select(MessageRow.id, MessageRow.position).where(*mine)
        if message_id is not None:
            last = await self._end_of(message_id, *mine)
            query = query.where(MessageRow.position <= last)
        if before is not None:
            query = query.where(MessageRow.id < before)
        found = await self._session.execute(query.order_by(MessageRow.position))
        return [(id, position) for id, position in found]

    async def _end_of(self, message_id: UUID, *mine: Any) -> int:
        """Return the position of a turn, or of the last result of the tools that it calls."""
        position = await self._session.scalar(
            select(MessageRow.position).where(*mine, MessageRow.id == message_id)
        )
        if position is None:
            raise NotFoundError("message", message_id)
        later = (*mine, MessageRow.position > position)
        other = await self._session.scalar(
            select(func.min(MessageRow.position)).where(*later, MessageRow.role != Role.tool)
        )
        results = later if other is None else (*later, MessageRow.position < other)
        last = await self._session.scalar(select(func.max(MessageRow.position)).where(*results))
        return position if last is None else int(last)

    async def _copy(self, fork_id: UUID, sources: list[UUID], *statements: TextClause) -> None:
        """Copy rows, each under an id of its own that sorts as it did."""
        if not sources:
            return
        values = {
            "owner": self._owner_id,
            "fork": fork_id,
            "sources": sources,
            "copies": [new_id() for _ in sources],
        }
        for statement in statements:
            names = {name for name in values if f":{name}" in statement.text}
            await self._session.execute(statement, {name: values[name] for name in names})


def _title(source: str) -> str:
    """Return the title of a fork; one that nobody named is named by the lab, as any chat is."""
    if source == NEW_CHAT or source.endswith(FORKED):
        return source
    return source[: MOST_TITLE - len(FORKED)] + FORKED
