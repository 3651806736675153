"""Between a stored message and the one a chat template takes."""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from uuid import UUID

import filetype

from lab.errors import InputError, MediaTypeError
from lab.schemas.audio_part import AudioPart
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.file_part import FilePart
from lab.schemas.image_part import ImagePart
from lab.schemas.message import Message
from lab.schemas.message_image import MessageImage
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.tool_call_part import ToolCallPart
from lab.schemas.tool_result_part import ToolResultPart

Attachment = ImagePart | AudioPart | FilePart
"""What refers to a stored file."""
NO_PICTURES: Final[Mapping[UUID, bytes]] = MappingProxyType({})
PICTURES: Final = frozenset({"image/png", "image/apng", "image/jpeg", "image/webp"})
"""Media types of the pictures that are taken."""
Part = TextPart | ThinkingPart | Attachment | ToolCallPart | ToolResultPart


def text_of(parts: Iterable[Part]) -> str:
    """Return what a message says: its text and tool results, without thinking and tool calls."""
    return "\n".join(p.text for p in parts if isinstance(p, TextPart | ToolResultPart) and p.text)


def to_chat_message(message: Message, pictures: Mapping[UUID, bytes] = NO_PICTURES) -> ChatMessage:
    """
    Return the message as the chat template takes it; thinking is left out.

    So are the pictures of an answer: its text says what they show, and templates know pictures of
    the user alone.

    Parameters
    ----------
    message : Message
        As it is stored.
    pictures : mapping
        Contents of pictures by their file, for a model that sees.

    Raises
    ------
    InputError
        If it holds what models that read text cannot take.
    """
    attached = [part for part in message.parts if isinstance(part, Attachment)]
    if message.role is Role.assistant:
        attached = [part for part in attached if not isinstance(part, ImagePart)]
    for part in attached:
        if part.file_id not in pictures:
            raise InputError(
                f"Message {message.position} of this conversation holds a part of type "
                f"`{part.type}`, and the models of this lab read text only; ask in another "
                "conversation, or delete that message."
            )
    result = next((p for p in message.parts if isinstance(p, ToolResultPart)), None)
    return ChatMessage(
        role=message.role,
        name=message.name,
        content=text_of(message.parts) or None,
        images=[
            MessageImage(data=b64encode(pictures[p.file_id]).decode())
            for p in attached
            if isinstance(p, ImagePart)
        ],
        tool_calls=[p.tool_call for p in message.parts if isinstance(p, ToolCallPart)],
        tool_call_id=result.tool_call_id if result else None,
    )


def n_pictures(messages: Iterable[ChatMessage]) -> int:
    """Return how many pictures come with messages."""
    return sum(len(message.images) for message in messages)


def address_of_picture(image: MessageImage) -> str | None:
    """
    Return the address of a picture that did not come itself.

    >>> address_of_picture(MessageImage(data="https://example.org/cat.png"))
    'https://example.org/cat.png'
    """
    return image.data if ":" in image.data else None  # which base64 has not


def picture_bytes(image: MessageImage) -> bytes:
    """Return the bytes of a picture in base64, or raise `InputError`."""
    try:
        content = b64decode(image.data, validate=True)
    except ValueError as error:
        raise InputError(
            f"`images`: a picture must come in base64, and this cannot be read ({error})."
        ) from error
    picture_type(content)
    return content


def picture_type(content: bytes, field: str = "images") -> str:
    """
    Return the media type of a picture, as its first bytes show it.

    Raises
    ------
    InputError
        If there is nothing.
    MediaTypeError
        If it is no picture that is taken.
    """
    if not content:
        raise InputError(f"`{field}`: the file has 0 bytes; send a picture (PNG, JPEG or WebP).")
    found = filetype.guess_mime(content)
    if found not in PICTURES:
        raise MediaTypeError(
            f"`{field}`: the bytes are no picture that is taken here; send PNG, JPEG or WebP."
        )
    return str(found)


def parts_of(message: ChatMessage) -> list[Part]:
    """Return a caller's message as parts to store."""
    if message.tool_call_id is not None:
        return [ToolResultPart(tool_call_id=message.tool_call_id, text=message.content or "")]
    text: list[Part] = [TextPart(text=message.content)] if message.content else []
    return [*text, *(ToolCallPart(tool_call=call) for call in message.tool_calls)]


def answer_parts(result: ChatResult) -> list[Part]:
    """Return a model's answer as parts to store."""
    parts: list[Part] = []
    if result.thinking:
        parts.append(ThinkingPart(text=result.thinking))
    if result.content:
        parts.append(TextPart(text=result.content))
    return [*parts, *(ToolCallPart(tool_call=call) for call in result.tool_calls)]


def transcript(messages: Sequence[ChatMessage]) -> str:
    """
    Return a dialogue as lines, for titles and summaries.

    >>> from lab.schemas.role import Role
    >>> transcript([ChatMessage(role=Role.user, content="Hi.")])
    'user: Hi.'
    """
    return "\n".join(f"{m.name or m.role.value}: {m.content}" for m in messages if m.content)
