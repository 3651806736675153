"""What is to be done."""

import builtins
from uuid import UUID

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

    async def create(self, text: str, conversation_id: UUID | None = None) -> Todo:
        """Write down what is to be done, of a chat or in general."""
        await self._check_conversation(conversation_id)
        return await self._insert(
            text=text, status=TodoStatus.pending, conversation_id=conversation_id
        )

    async def list(
        self, limit: int = 100, before: UUID | None = None, conversation_id: UUID | None = None
    ) -> builtins.list[Todo]:
        """Return the newest todos first, of one chat or of all."""
        scope = [] if conversation_id is None else [TodoRow.conversation_id == conversation_id]
        return await self._page(limit, before, *scope)
