"""Chats."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import InstrumentedAttribute

from lab.db.owned import OwnedStore
from lab.db.tables import ConversationRow
from lab.schemas.conversation import Conversation


class ConversationStore(OwnedStore[Conversation]):
    """Chats of one user; lists begin with the one that was written to last."""

    kind = "conversation"
    row = ConversationRow
    entity = Conversation
    changeable = frozenset({"title"})

    async def create(self, title: str) -> Conversation:
        """Open a chat."""
        return await self._insert(title=title)

    async def rename(self, id: UUID, title: str) -> Conversation:
        """Give a chat another title."""
        return await self._update(id, {"title": title})

    @property
    def _time(self) -> InstrumentedAttribute[Any]:
        return ConversationRow.updated_at
