"""The stored turns of one owner: kept with their embeddings, read back, found by meaning."""

from collections.abc import Sequence
from uuid import UUID

from lab.db import Database
from lab.messages import Part, parts_of, text_of
from lab.protocols import EmbeddingPipeline, FloatArray
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.message import Message
from lab.schemas.role import Role

Turn = tuple[Role, Sequence[Part]]


class Turns:
    """
    Turns of one owner, each method one transaction.

    Parameters
    ----------
    database : Database
        Where they are.
    owner_id : UUID
        Whose they are.
    conversation_id : UUID, optional
        The conversation to keep and read; None keeps nothing and has no history.
    embedding : EmbeddingPipeline
        Makes turns findable by meaning.
    """

    def __init__(
        self,
        database: Database,
        owner_id: UUID,
        conversation_id: UUID | None,
        embedding: EmbeddingPipeline,
    ) -> None:
        self._database = database
        self._owner_id = owner_id
        self._conversation_id = conversation_id
        self._embedding = embedding

    async def keep(
        self, messages: Sequence[ChatMessage], run_id: UUID | None = None
    ) -> list[Message]:
        """Store messages with their embeddings."""
        return await self.keep_parts([(m.role, parts_of(m)) for m in messages], run_id)

    async def keep_parts(self, turns: Sequence[Turn], run_id: UUID | None) -> list[Message]:
        """Store turns with the embedding of what they say."""
        if self._conversation_id is None:
            return []
        texts = [text_of(parts).strip() for _, parts in turns]
        vectors = await self._vectors([text for text in texts if text])
        stored: list[Message] = []
        async with self._database.stores(self._owner_id) as stores:
            for (role, parts), text in zip(turns, texts, strict=True):
                message = await stores.messages.add(
                    self._conversation_id, role, parts, run_id=run_id
                )
                if text:
                    await stores.memories.add(message, text=text, embedding=vectors[text])
                stored.append(message)
        return stored

    async def history(self, most: int) -> list[Message]:
        """Return the newest turns of the conversation, oldest first."""
        if self._conversation_id is None:
            return []
        async with self._database.stores(self._owner_id) as stores:
            return await stores.messages.list(self._conversation_id, limit=most)

    async def recall(
        self, question: str, *, top_k: int, everywhere: bool, exclude: Sequence[UUID]
    ) -> list[MemoryHit]:
        """Return the owner's turns nearest in meaning to the question, best first."""
        (query,) = await self._embedding.embed([question], kind="query")
        async with self._database.stores(self._owner_id) as stores:
            return await stores.memories.search(
                query,
                top_k=top_k,
                conversation_id=None if everywhere else self._conversation_id,
                exclude_message_ids=exclude,
            )

    async def _vectors(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Return an embedding of shape (768,) for each text."""
        if not texts:
            return {}
        return dict(zip(texts, await self._embedding.embed(texts), strict=True))
