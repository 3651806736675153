"""The stored turns of one owner: kept with their embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from lab.db import Database, Stores
from lab.db.files import media_type_of
from lab.errors import InputError
from lab.messages import Part, parts_of, picture_bytes, text_of
from lab.protocols import CONTEXT_TURNS, EmbeddingPipeline, FloatArray
from lab.schemas.chat_message import ChatMessage
from lab.schemas.image_part import ImagePart
from lab.schemas.memory import Memory
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.said_message import SaidMessage

CONTEXT_WORDS = 80
"""Words of turns that are embedded together: beyond, the vector means none of them."""
REPLY_WORDS = 32
"""Words of the last of them that are kept, however long the one before it is."""
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
    pictures: Sequence[bytes] = ()
    """What comes with it."""

    @property
    def text(self) -> str:
        """What is said, and so remembered: not what a tool answered."""
        return "" if self.role is Role.tool else text_of(self.parts).strip()


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
        return await self.keep_turns([_turn(message) for message in messages], run_id)

    async def keep_turns(self, turns: Sequence[Turn], run_id: UUID | None) -> list[Message]:
        """Store turns with two embeddings: alone, and together with what was said before."""
        if self._conversation_id is None:
            return []
        said = [turn for turn in turns if turn.text]
        before = await self._last_said() if said else []
        alone = [embedded_text(turn.name, turn.text) for turn in said]
        contexts = contexts_of([*before, *alone])[len(before) :]
        vectors = await self._vectors([*alone, *(text for text in contexts if text)])
        async with self._database.stores(self._owner_id) as stores:
            messages = [
                await stores.messages.add(
                    self._conversation_id,
                    turn.role,
                    [*await _stored(stores, turn.pictures), *turn.parts],
                    name=turn.name,
                    run_id=run_id,
                    said_at=turn.said_at,
                )
                for turn in turns
            ]
            # From here on the chat is ours. What was said before may have been corrected, forgotten
            # or answered by others meanwhile: nothing of it as it was may stay in a vector.
            if said and (last := await self._last(stores)) != before:
                contexts = contexts_of([*last, *alone])[len(last) :]
                vectors |= await self._vectors([t for t in contexts if t and t not in vectors])
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

    async def _last_said(self) -> list[str]:
        async with self._database.stores(self._owner_id) as stores:
            return await self._last(stores)

    async def _last(self, stores: Stores) -> list[str]:
        """Return what is embedded of the last turns that are kept, the first said first."""
        assert self._conversation_id is not None, "only a chat that is kept has turns"
        last = await stores.memories.before(self._conversation_id, most=CONTEXT_TURNS)
        return [embedded_memory(memory) for memory in last]

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
    pictures = [picture_bytes(image) for image in message.images]
    return Turn(message.role, parts_of(message), message.name, said_at, pictures)


async def _stored(stores: Stores, pictures: Sequence[bytes]) -> list[Part]:
    """Store pictures, and return the parts of the message that refer to them."""
    files = [await stores.files.add(one, media_type_of(one)) for one in pictures]
    return [ImagePart(file_id=file.id) for file in files]


def embedded_text(name: str | None, text: str) -> str:
    """
    Return what is embedded of a turn.

    >>> embedded_text("Ann", "I moved to Oslo."), embedded_text(None, "I moved to Oslo.")
    ('Ann: I moved to Oslo.', 'I moved to Oslo.')
    """
    return f"{name}: {text}" if name else text


def embedded_memory(memory: Memory) -> str:
    """Return what is embedded of a stored turn."""
    return embedded_text(memory.name, memory.text)


def contexts_of(texts: Sequence[str]) -> list[str | None]:
    """Return each turn of a talk together with those before it; None for the first."""
    return [in_context(texts[max(0, i - CONTEXT_TURNS) : i], text) for i, text in enumerate(texts)]


def in_context(earlier: Sequence[str], text: str) -> str | None:
    """
    Return the one or two turns before a turn together with it, in few words; None where none is.

    The turn before it stands in the middle and has the first claim on room: what was said around a
    turn is embedded with the turn after it. Of the others, what is nearest to it is kept.

    >>> in_context(["Hello!", "Where do you live?"], "In Oslo.").splitlines()
    ['Hello!', 'Where do you live?', 'In Oslo.']
    """
    if not earlier:
        return None
    first, middle, last = [[], *(said.split() for said in (*earlier, text))][-3:]
    middle = middle[-(CONTEXT_WORDS - min(len(last), REPLY_WORDS)) :]
    room = CONTEXT_WORDS - len(middle)
    n_last = min(len(last), max(room // 2, room - len(first)))
    first = first[max(0, len(first) - room + n_last) :]
    return "\n".join(" ".join(words) for words in (first, middle, last[:n_last]) if words)
