"""Messages and tools as OpenAI's protocol takes them."""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

from lab.messages import picture_bytes, picture_type
from lab.schemas.chat_message import ChatMessage
from lab.schemas.message_image import MessageImage
from lab.schemas.response_format import ResponseFormat
from lab.schemas.role import Role
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_choice import ToolChoice

NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of speakers that servers take; others would have the whole request refused."""


def wire_message(message: ChatMessage) -> dict[str, Any]:
    """
    Return a message; what only calls tools has no content, and pictures come before the text.

    Raises
    ------
    InputError
        If a picture is none.
    """
    wire: dict[str, Any] = {"role": message.role.value, "content": message.content or ""}
    if message.name and NAME.fullmatch(message.name) and message.role is not Role.tool:
        wire["name"] = message.name
    if message.images:
        pictures = [{"type": "image_url", "image_url": {"url": _url(i)}} for i in message.images]
        text = [{"type": "text", "text": message.content}] if message.content else []
        wire["content"] = [*pictures, *text]
    if message.tool_calls:
        wire["content"] = message.content or None
        wire["tool_calls"] = [_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def wire_tools(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Return tools."""
    return [{"type": "function", "function": tool.model_dump(mode="json")} for tool in tools]


def wire_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """Return how tools are to be chosen."""
    if choice.name is None:
        return choice.mode.value
    return {"type": "function", "function": {"name": choice.name}}


def wire_format(form: ResponseFormat) -> dict[str, Any]:
    """Return the form of an answer."""
    return form.model_dump(mode="json", exclude_none=True)


def texts_of(messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> list[str]:
    """Return every text of a prompt that costs tokens, one a message and a tool."""
    said = [
        "\n".join(
            [
                message.role.value,
                message.name or "",
                message.content or "",
                *(json.dumps(_call(call)) for call in message.tool_calls),
                message.tool_call_id or "",
            ]
        )
        for message in messages
    ]
    return [*said, *(json.dumps(tool) for tool in wire_tools(tools))]


def _url(image: MessageImage) -> str:
    """Return a picture as a data URI."""
    return f"data:{picture_type(picture_bytes(image))};base64,{image.data}"


def _call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
    }
