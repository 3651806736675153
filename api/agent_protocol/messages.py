"""Between the messages of the Agent Protocol, or of LangChain, and the lab's."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from api.openai import chat_message, checked
from lab.errors import InputError, cut
from lab.messages import Attachment, text_of
from lab.schemas.chat_message import ChatMessage
from lab.schemas.message import Message
from lab.schemas.openai_message import OpenAIMessage
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.thread_message import ThreadMessage
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.schemas.tool_result_part import ToolResultPart

TYPES: Final = {
    Role.user: "human",
    Role.assistant: "ai",
    Role.system: "system",
    Role.tool: "tool",
}
"""What LangChain calls who speaks."""
ROLES: Final = {type_: role.value for role, type_ in TYPES.items()}
TAKEN: Final = ("content", "name", "tool_call_id")
"""Of a message; ids and metadata are the lab's to give."""


def input_of(given: Any, messages: Sequence[Mapping[str, Any]] | None) -> list[ChatMessage]:
    """
    Return the messages that are the input of a run.

    Parameters
    ----------
    given : object
        `{"messages": [...]}`, messages, a message, or a text; None for none.
    messages : sequence of mapping, optional
        The messages, instead.

    Raises
    ------
    InputError
        If it is something else, or both.
    """
    if messages is not None and given is not None:
        raise InputError("Give `input` or `messages`, not both.")
    return chat_messages(_listed(given) if messages is None else messages)


def _listed(given: Any) -> Sequence[Any]:
    """Return the messages that an input holds."""
    match given:
        case None:
            return []
        case list():
            return given
        case {"messages": list() as listed} if len(given) == 1:
            return listed
        case {"messages": str() as text} if len(given) == 1:
            return [text]
        case str() | {"content": _}:
            return [given]
        case _:
            raise InputError(
                '`input`: expected {"messages": [...]}, messages, a message or a text, got '
                f"{cut(repr(given))}."
            )


def chat_messages(messages: Sequence[Any]) -> list[ChatMessage]:
    """Return messages as a chat template takes them, or raise `InputError`."""
    return [_chat_message(message) for message in messages]


def _chat_message(message: Any) -> ChatMessage:
    if isinstance(message, str):
        message = {"role": Role.user.value, "content": message}
    if not isinstance(message, dict):
        raise InputError(f"`messages`: expected an object, got {cut(repr(message))}.")
    role = message.get("role") or message.get("type")
    values = {name: message[name] for name in TAKEN if message.get(name) is not None}
    values["role"] = ROLES.get(role, role) if isinstance(role, str) else role
    if isinstance(content := values.get("content"), list):
        values["content"] = [_block(block) for block in content]
    if calls := message.get("tool_calls"):
        values["tool_calls"] = [_call(call) for call in calls]
    return chat_message(checked(OpenAIMessage, values))


def _block(block: Any) -> Any:
    """Return a piece of content without what programs keep with it."""
    if isinstance(block, dict):
        return {key: value for key, value in block.items() if key != "metadata"}
    return {"type": "text", "text": block} if isinstance(block, str) else block


def _call(call: Any) -> Any:
    """Return a call of a tool as OpenAI writes it."""
    match call:
        case {"id": id_, "name": name, "args": args}:
            function = {"name": name, "arguments": json.dumps(args)}
            return {"id": id_, "type": "function", "function": function}
        case _:
            return call


def thread_message(message: Message) -> ThreadMessage:
    """Return a stored message as a thread shows it."""
    about: dict[str, Any] = {"created_at": message.created_at.isoformat()}
    if message.run_id is not None:
        about["run_id"] = str(message.run_id)
    if thought := [part.text for part in message.parts if isinstance(part, ThinkingPart)]:
        about["thinking"] = "\n".join(thought)
    results = [part for part in message.parts if isinstance(part, ToolResultPart)]
    return ThreadMessage(
        role=message.role.value,
        type=TYPES[message.role],
        content=_content(message),
        id=str(message.id),
        name=message.name,
        tool_calls=[
            call_of(part.tool_call) for part in message.parts if isinstance(part, ToolCallPart)
        ],
        tool_call_id=results[0].tool_call_id if results else None,
        metadata=about,
    )


def dumped(message: ThreadMessage) -> dict[str, Any]:
    """Return a message as it is sent: without what it has not."""
    return message.model_dump(mode="json", exclude_none=True)


def said_message(message: ChatMessage) -> ThreadMessage:
    """Return a message that is not stored as a thread shows it."""
    return ThreadMessage(
        role=message.role.value,
        type=TYPES[message.role],
        content=message.content or "",
        name=message.name,
        tool_calls=[call_of(call) for call in message.tool_calls],
        tool_call_id=message.tool_call_id,
    )


def call_of(call: ToolCall) -> dict[str, Any]:
    """Return a call of a tool as LangChain writes it."""
    return {"type": "tool_call", "id": call.id, "name": call.name, "args": call.arguments}


def _content(message: Message) -> str | list[dict[str, Any]]:
    """Return the text of a message; blocks where files come with it."""
    if not any(isinstance(part, Attachment) for part in message.parts):
        return text_of(message.parts)
    return [
        part.model_dump(mode="json")
        for part in message.parts
        if isinstance(part, Attachment | TextPart)
    ]
