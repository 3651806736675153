"""The stored turns of one owner: kept with their embeddings, read back, found again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from lab.db import Database, Stores
from lab.errors import InputError
from lab.messages import Part, parts_of, text_of
from lab.protocols import EmbeddingPipeline, FloatArray
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory import Memory
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.said_message import SaidMessage
from lab.schemas.summary import Summary
from lab.workflows.recall import Recalled, recall

CONTEXT_WORDS = 96
"""Words of a turn together with what was said before it: beyond, the vector means neither."""
LEAST_CONTEXT_WORDS = 4
YEARS = range(1000, 9000)
"""In which something was said: the ends of the calendar have no room for time zones."""


@dataclass(frozen=True)
class Turn:
    """What is about to be stored."""

    role: Role
    parts: Sequence[Part]
    name: str | None = None
    said_at: datetime | None = None
    """When it was said, where that is not now."""

    @property
    def text(self) -> str:
        """What is said."""
        return text_of(self.parts).strip()


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
        Makes turns findable.
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
        """
        Store messages with their embeddings.

        Raises
        ------
        InputError
            If one was said in no year of ours.
        """
        return await self.keep_turns([_turn(m) for m in messages], run_id)

    async def keep_turns(self, turns: Sequence[Turn], run_id: UUID | None) -> list[Message]:
        """Store turns with two embeddings: alone, and after what was said before."""
        if self._conversation_id is None:
            return []
        said = [turn for turn in turns if turn.text]
        before = await self._last_said() if said else None
        alone = [embedded_text(turn.name, turn.text) for turn in said]
        earlier = [before, *alone][: len(alone)]
        contexts = [in_context(*pair) for pair in zip(earlier, alone, strict=True)]
        vectors = await self._vectors([*alone, *(text for text in contexts if text)])
        async with self._database.stores(self._owner_id) as stores:
            messages = [
                await stores.messages.add(
                    self._conversation_id,
                    turn.role,
                    turn.parts,
                    name=turn.name,
                    run_id=run_id,
                    said_at=turn.said_at,
                )
                for turn in turns
            ]
            # From here on the chat is ours. What was said before may have been corrected, forgotten
            # or answered by others meanwhile: nothing of it as it was may stay in a vector.
            if said and (last := said_in(await self._last(stores))) != before:
                contexts[0] = in_context(last, alone[0])
                vectors |= await self._vectors([text for text in contexts[:1] if text])
            texts = iter(zip(alone, contexts, strict=True))
            for message, turn in zip(messages, turns, strict=True):
                if turn.text:
                    own, context = next(texts)
                    await stores.memories.add(
                        message,
                        text=turn.text,
                        embedding=vectors[own],
                        context_embedding=vectors[context] if context else None,
                        model=self._embedding.signature,
                    )
        return messages

    async def history(self, most: int) -> list[Message]:
        """Return the newest turns of the conversation, oldest first."""
        if self._conversation_id is None:
            return []
        async with self._database.stores(self._owner_id) as stores:
            return await stores.messages.list(self._conversation_id, limit=most)

    async def summaries(self) -> list[Summary]:
        """Return the highest summaries that together cover what any of the conversation covers."""
        if self._conversation_id is None:
            return []
        async with self._database.stores(self._owner_id) as stores:
            return await stores.summaries.standing(self._conversation_id)

    async def recall(
        self,
        question: str,
        *,
        top_k: int,
        min_similarity: float,
        neighbours: bool,
        everywhere: bool,
        excluded: Sequence[UUID],
        shared: bool,
    ) -> Recalled:
        """Return the turns that bear on the question, the owner's and shared ones, best first."""
        return await recall(
            self._database,
            self._owner_id,
            self._embedding,
            question,
            top_k=top_k,
            min_similarity=min_similarity,
            neighbours=neighbours,
            conversation_id=None if everywhere else self._conversation_id,
            excluded=excluded,
            shared=shared,
        )

    async def _last_said(self) -> str | None:
        async with self._database.stores(self._owner_id) as stores:
            return said_in(await self._last(stores))

    async def _last(self, stores: Stores) -> Memory | None:
        assert self._conversation_id is not None, "only a chat that is kept has turns"
        return await stores.memories.before(self._conversation_id)

    async def _vectors(self, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Return an embedding of shape (768,) for each text."""
        if not texts:
            return {}
        return dict(zip(texts, await self._embedding.embed(texts), strict=True))


def _turn(message: ChatMessage) -> Turn:
    said_at = message.said_at if isinstance(message, SaidMessage) else None
    if said_at and said_at.year not in YEARS:
        raise InputError(
            f"A message was said at {said_at.isoformat()}; expected a date from the year "
            f"{YEARS.start} to {YEARS.stop - 1}."
        )
    return Turn(message.role, parts_of(message), message.name, said_at)


def said_in(memory: Memory | None) -> str | None:
    """Return what is embedded of a memory; None of none."""
    return embedded_text(memory.name, memory.text) if memory else None


def embedded_text(name: str | None, text: str) -> str:
    """
    Return what is embedded of a turn.

    >>> embedded_text("Ann", "I moved to Oslo."), embedded_text(None, "I moved to Oslo.")
    ('Ann: I moved to Oslo.', 'I moved to Oslo.')
    """
    return f"{name}: {text}" if name else text


def in_context(before: str | None, text: str) -> str | None:
    """
    Return a turn with the end of what was said before it; None where it is long enough alone.

    >>> in_context("Where do you live?", "In Oslo.").splitlines()
    ['Where do you live?', 'In Oslo.']
    """
    room = CONTEXT_WORDS - len(text.split())
    if not before or room < LEAST_CONTEXT_WORDS:
        return None
    words = before.split()
    return f"{before if len(words) <= room else ' '.join(words[-room:])}\n{text}"
