"""What the lab remembers of the user."""

import builtins
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.memory_update import MemoryUpdate

PATH = "/v1/memories"


class Memories:
    """The user's memories."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self, limit: int = 50, before: UUID | None = None) -> list[Memory]:
        """Return memories, newest first."""
        return await self._http.fetch("GET", PATH, list[Memory], limit=limit, before=before)

    async def search(self, text: str, limit: int = 10) -> builtins.list[MemoryHit]:
        """Return the memories that bear on a text, best first."""
        return await self._http.fetch("GET", f"{PATH}/search", list[MemoryHit], q=text, limit=limit)

    async def get(self, memory_id: UUID) -> Memory:
        """Return one memory."""
        return await self._http.fetch("GET", f"{PATH}/{memory_id}", Memory)

    async def correct(self, memory_id: UUID, text: str) -> Memory:
        """Put another text in the place of a memory's; the message it came from stays."""
        body = checked(MemoryUpdate, text=text)
        return await self._http.fetch("PATCH", f"{PATH}/{memory_id}", Memory, body)

    async def delete(self, memory_id: UUID) -> None:
        """Forget one memory; the message it came from stays."""
        await self._http.delete(f"{PATH}/{memory_id}")

    async def delete_all(self, conversation: UUID | None = None) -> None:
        """Forget the memories of one conversation, or all; the messages they came from stay."""
        if conversation is None:
            await self._http.delete(PATH, all=True)
        else:
            await self._http.delete(PATH, conversation_id=conversation)
