"""What is deleted is forgotten by the steps of turns, too: these hold what stood in the window."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from lab.db import Database
from lab.messages import text_of
from lab.schemas.user import User
from lab.workflows.composer import Composer

MOST: Final = 60
"""Characters by which a text is known again: a window may hold only its beginning."""


class Forgetting:
    """
    Delete messages and memories, with the steps of turns that tell of them.

    Steps are needed to go on with a turn that was interrupted and to look back, and nothing else:
    all of a conversation are deleted.

    Parameters
    ----------
    database : Database
        Where they are.
    composer : Composer
        Keeps the steps of turns.
    """

    def __init__(self, database: Database, composer: Composer) -> None:
        self._database = database
        self._composer = composer

    async def message(self, owner: User, message_id: UUID) -> None:
        """Delete a message with its memory and the summaries of it."""
        async with self._database.stores(owner.id) as stores:
            message = await stores.messages.get(message_id)
            await stores.messages.delete(message_id)
        await self.text(owner, message.conversation_id, text_of(message.parts))

    async def memory(self, owner: User, memory_id: UUID) -> None:
        """Delete a memory; the message it came from stays."""
        async with self._database.stores(owner.id) as stores:
            memory = await stores.memories.get(memory_id)
            await stores.memories.delete(memory_id)
        await self.text(owner, memory.conversation_id, memory.text)

    async def memories(self, owner: User, conversation_id: UUID | None = None) -> None:
        """Delete the memories of one conversation, or all; any may have been recalled anywhere."""
        async with self._database.stores(owner.id) as stores:
            if conversation_id is not None:
                await stores.conversations.get(conversation_id)
            await stores.memories.delete_all(conversation_id)
            ids = await stores.threads.ids()
        await self._forget(ids)

    async def text(self, owner: User, conversation_id: UUID, text: str) -> None:
        """Delete the steps of a conversation, and of those that hold what was said in it."""
        known = _beginning(text)
        ids = []
        if known:
            async with self._database.stores(owner.id) as stores:
                ids = await stores.threads.ids()
            ids = await self._composer.that_hold(ids, known)
        await self._forget({conversation_id, *ids})

    async def _forget(self, conversation_ids: Iterable[UUID]) -> None:
        for id in conversation_ids:
            await self._composer.forget(id)


def _beginning(text: str) -> str:
    r"""
    Return what of a text stands in a window, however the rest is cut or laid out.

    >>> _beginning("  My dog is called Zamiko.\nAnd my cat ...")
    'My dog is called Zamiko.'
    """
    lines = text.strip().splitlines()
    return lines[0].strip()[:MOST] if lines else ""
