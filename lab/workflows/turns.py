"""The stored turns of one owner: kept with their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from lab.db import Database
from lab.errors import InputError
from lab.messages import Part, parts_of, text_of
from lab.protocols import EmbeddingPipeline, FloatArray
from lab.schemas.chat_message import ChatMessage
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.said_message import SaidMessage

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
        The conversation to keep; None keeps nothing.
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
        texts = iter(zip(alone, contexts, strict=True))
        stored: list[Message] = []
        async with self._database.stores(self._owner_id) as stores:
            for turn in turns:
                message = await stores.messages.add(
                    self._conversation_id,
                    turn.role,
                    turn.parts,
                    name=turn.name,
                    run_id=run_id,
                    said_at=turn.said_at,
                )
                stored.append(message)
                if turn.text:
                    own, context = next(texts)
                    await stores.memories.add(
                        message,
                        text=turn.text,
                        embedding=vectors[own],
                        context_embedding=vectors[context] if context else None,
                        model=self._embedding.signature,
                    )
        return stored

    async def _last_said(self) -> str | None:
        if self._conversation_id is None:
            return None
        async with self._database.stores(self._owner_id) as stores:
            last = await stores.memories.before(self._conversation_id)
        return embedded_text(last.name, last.text) if last else None

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
