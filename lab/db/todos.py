"""What is to be done."""

import builtins
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, select

from lab.db.ids import new_id
from lab.db.tables import TodoRow
from lab.db.versioned import VersionedStore
from lab.schemas.todo import Todo
from lab.schemas.todo_status import TodoStatus


class TodoStore(VersionedStore[Todo]):
    """Todos of one user; those of a chat go with it."""

    kind = "todo"
    row = TodoRow
    entity = Todo
    changeable = frozenset({"text", "status"})

    async def create(
        self, text: str, conversation_id: UUID | None = None, id: UUID | None = None
    ) -> Todo:
        """Write down what is to be done, of a chat or in general, under an id that is new."""
        await self._check_conversation(conversation_id)
        return await self._insert(
            id=id or new_id(),
            text=text,
            status=TodoStatus.pending,
            conversation_id=conversation_id,
        )

    async def has_any(self, ids: Iterable[UUID]) -> bool:
        """Return whether one of these is written down."""
        found = await self._session.scalar(
            select(TodoRow.id)
            .where(TodoRow.id.in_(ids), TodoRow.owner_id == self._owner_id)
            .limit(1)
        )
        return found is not None

    async def list(
        self,
        limit: int | None = 100,
        before: UUID | None = None,
        conversation_id: UUID | None = None,
        *,
        is_done: bool | None = None,
    ) -> builtins.list[Todo]:
        """Return the newest todos first, of one chat or of all: those done, those not, or both."""
        scope: builtins.list[ColumnElement[bool]] = []
        if conversation_id is not None:
            scope.append(TodoRow.conversation_id == conversation_id)
        if is_done is not None:
            completed = TodoRow.status == TodoStatus.completed
            scope.append(completed if is_done else ~completed)
        return await self._page(limit, before, *scope)
