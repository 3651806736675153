"""Chats."""

from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import InstrumentedAttribute

from lab.db.owned import OwnedStore
from lab.db.tables import ConversationRow
from lab.schemas.conversation import Conversation

NEW_CHAT: Final = "New chat"
"""Title of a chat that nobody named yet."""


class ConversationStore(OwnedStore[Conversation]):
    """Chats of one user; lists begin with the one that was written to last."""

    kind = "conversation"
    row = ConversationRow
    entity = Conversation
    changeable = frozenset({"title", "shared", "details"})

    async def create(self, title: str) -> Conversation:
        """Open a chat."""
        return await self._insert(title=title)

    async def update(self, id: UUID, **fields: Any) -> Conversation:
        """Change the title of a chat, whether it is shared, or what programs keep with it."""
        return await self._update(id, fields)

    async def name(self, id: UUID, title: str) -> None:
        """Give a chat a title, unless it was named meanwhile or is gone."""
        unnamed = ConversationRow.title == NEW_CHAT
        await self._changed({"title": title}, *self._is(id), unnamed)

    @property
    def _time(self) -> InstrumentedAttribute[Any]:
        return ConversationRow.updated_at
