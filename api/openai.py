"""Between OpenAI's shapes and the lab's."""

import json
import time
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lab.errors import InputError, cut
from lab.schemas.chat_completion_request import ChatCompletionRequest
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.message_image import MessageImage
from lab.schemas.openai_image_content import OpenAIImageContent
from lab.schemas.openai_media_content import OpenAIMediaContent
from lab.schemas.openai_message import OpenAIMessage
from lab.schemas.openai_role import OpenAIRole
from lab.schemas.openai_text_content import OpenAITextContent
from lab.schemas.openai_tool_call import OpenAIToolCall
from lab.schemas.role import Role
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_delta import ToolCallDelta
from lab.schemas.tool_choice import ToolChoice
from lab.schemas.tool_choice_mode import ToolChoiceMode

M = TypeVar("M", bound=BaseModel)

NO_TOOLS = "none"


def turn_of(request: ChatCompletionRequest) -> ChatTurn:
    """Return the request as a chat turn; only what it sets overrides profile and user."""
    tools = [] if request.tool_choice == NO_TOOLS else request.tools or []
    return ChatTurn(
        profile=request.model,
        messages=[chat_message(message) for message in request.messages],
        conversation_id=request.conversation_id,
        parameters=_parameters(request),
        tools=[
            Tool(
                name=tool.function.name,
                description=tool.function.description or "",
                parameters=tool.function.parameters or {},
            )
            for tool in tools
        ],
        store=request.store is not False,
        memory=request.memory,
        settings=request.settings,
    )


def _tool_choice(request: ChatCompletionRequest) -> ToolChoice | None:
    """Return whether tools are called, from OpenAI's word or named function."""
    asked = request.tool_choice
    match asked:
        case None:
            return None
        case "auto" | "none" | "required":
            return ToolChoice(mode=ToolChoiceMode(asked))
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice(mode=ToolChoiceMode.required, name=name)
        case _:
            raise InputError(
                '`tool_choice` must be "auto", "none", "required", or {"type": "function", '
                f'"function": {{"name": ...}}}}, got {json.dumps(asked)[:80]}.'
            )


SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "n",
    "seed",
    "enable_thinking",
    "response_format",
)
"""What OpenAI's request and the lab's parameters call by the same name."""


def _parameters(request: ChatCompletionRequest) -> GenerationParameters:
    if request.top_logprobs and not request.logprobs:
        raise InputError("`top_logprobs` needs `logprobs`: true; set it, or leave both out.")
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    values = {name: getattr(request, name) for name in SAMPLING} | {
        "max_new_tokens": request.max_completion_tokens or request.max_tokens,
        "stop": [text for text in stop or [] if text] or None,
        "tool_choice": _tool_choice(request),
    }
    return checked(
        GenerationParameters, {key: value for key, value in values.items() if value is not None}
    )


def checked(kind: type[M], values: dict[str, Any]) -> M:
    """Return what the values make, or raise `InputError` for the first that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"`{problem['loc'][0]}`: {problem['msg']}.") from None


def chat_message(message: OpenAIMessage) -> ChatMessage:
    """Return a message as a chat template takes it."""
    content, images = message.content, []
    if isinstance(content, list):
        images = [_image(piece) for piece in content if isinstance(piece, OpenAIImageContent)]
        content = "".join(map(_text, content))
    role = Role.system if message.role is OpenAIRole.developer else Role(message.role.value)
    if role is Role.tool and not message.tool_call_id:
        raise InputError("`messages`: a tool message needs the `tool_call_id` it answers.")
    values = {
        "role": role,
        "name": None if role is Role.tool else message.name or None,
        "content": content,
        "images": images,
        "tool_calls": [_call(call) for call in message.tool_calls or []],
        "tool_call_id": message.tool_call_id if role is Role.tool else None,
    }
    return checked(ChatMessage, values)


def _image(piece: OpenAIImageContent) -> MessageImage:
    url = piece.image_url.url
    if url.startswith(("http://", "https://")):
        return MessageImage(data=url)
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise InputError(
            "`messages`: give a picture as a data URI (`data:image/png;base64,…`) or by its http "
            f"or https address, got {cut(url, 40)!r}."
        )
    return MessageImage(data=data)


def _text(piece: OpenAITextContent | OpenAIImageContent | OpenAIMediaContent) -> str:
    if isinstance(piece, OpenAIImageContent):
        return ""
    if isinstance(piece, OpenAIMediaContent):
        raise InputError(
            f"`messages`: the models of this lab cannot take `{piece.type}`. Leave it out; add the "
            "text of a file as a document (POST /v1/documents)."
        )
    return piece.text


def _call(call: OpenAIToolCall) -> ToolCall:
    try:
        arguments = json.loads(call.function.arguments or "{}")
    except json.JSONDecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise InputError(
            f"`messages`: the arguments of tool call `{call.id}` must be a JSON object in a "
            f"string, got {call.function.arguments[:80]!r}."
        )
    return ToolCall(id=call.id, name=call.function.name, arguments=arguments)


class Choice:
    """One answer of a completion as it grows."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._n_calls = 0
        self._streamed: set[str] = set()  # ids of calls that came piece by piece
        self._message: dict[str, Any] = {"role": "assistant", "content": ""}
        self._logprobs: list[dict[str, Any]] = []
        self._end: dict[str, Any] = {"finish_reason": None}

    def take(self, event: Event) -> dict[str, Any]:
        """Take an event of this answer; return the delta of the message that it brings."""
        self._logprobs.extend(event.data.get("logprobs", []))
        match event.type:
            case EventType.content:
                self._message["content"] += event.data["text"]
                return {"content": event.data["text"]}
            case EventType.thinking:
                text = self._message.get("reasoning_content", "") + event.data["text"]
                self._message["reasoning_content"] = text
                return {"reasoning_content": event.data["text"]}
            case EventType.tool_call_delta:
                return self._piece(ToolCallDelta.model_validate(event.data["tool_call_delta"]))
            case _:
                return self._tool_call(ToolCall.model_validate(event.data["tool_call"]))

    def finish(self, data: dict[str, Any]) -> None:
        """Take why it ended, and the guard that ended it."""
        self._end = {key: data[key] for key in ("finish_reason", "guard") if key in data}

    def part(self, delta: dict[str, Any], logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the choice of a chunk."""
        written = _logprobs(logprobs)
        return {"index": self._index, "delta": delta, "logprobs": written, "finish_reason": None}

    def last(self) -> dict[str, Any]:
        """Return the choice of the chunk that says why it ended."""
        return {"index": self._index, "delta": {}, "logprobs": None, **self._end}

    def whole(self) -> dict[str, Any]:
        """Return the choice of a completion that is not streamed."""
        message = {"refusal": None, **self._message}
        if self._n_calls and not message["content"]:
            message["content"] = None
        logprobs = _logprobs(self._logprobs)
        return {"index": self._index, "message": message, "logprobs": logprobs, **self._end}

    def _tool_call(self, call: ToolCall) -> dict[str, Any]:
        written = {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        self._message.setdefault("tool_calls", []).append(written)
        index, self._n_calls = self._n_calls, self._n_calls + 1
        return {} if call.id in self._streamed else {"tool_calls": [{"index": index, **written}]}

    def _piece(self, piece: ToolCallDelta) -> dict[str, Any]:
        """Return a piece of a tool call; the first tells its id and name."""
        if piece.id is None:
            written = {"index": piece.index, "function": {"arguments": piece.arguments}}
            return {"tool_calls": [written]}
        self._streamed.add(piece.id)
        function = {"name": piece.name, "arguments": piece.arguments}
        head = {"index": piece.index, "id": piece.id, "type": "function"}
        return {"tool_calls": [{**head, "function": function}]}


def _logprobs(tokens: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"content": tokens, "refusal": None} if tokens else None


class Completion:
    """
    A chat completion as it grows, in OpenAI's shapes.

    Parameters
    ----------
    model : str
        What the request asked for.
    n_choices : int
        How many answers it asked for.
    """

    def __init__(self, model: str, n_choices: int = 1) -> None:
        self._model = model
        self._created = int(time.time())
        self._choices = [Choice(index) for index in range(n_choices)]
        self.id = ""
        self.lab: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}

    def take(self, event: Event) -> list[dict[str, Any]]:
        """Take an event; return the chunks of a streamed completion that it brings."""
        match event.type:
            case EventType.run_started:
                self.id = f"chatcmpl-{event.run_id}"
                self.lab = {"run_id": str(event.run_id), **event.data}
                opening = {"role": "assistant", "content": ""}
                return [self._chunk(choice.part(opening, [])) for choice in self._choices]
            case (
                EventType.content
                | EventType.thinking
                | EventType.tool_call_delta
                | EventType.tool_call
            ):
                choice = self._choices[event.data.get("index", 0)]
                logprobs, delta = event.data.get("logprobs", []), choice.take(event)
                return [self._chunk(choice.part(delta, logprobs))] if delta or logprobs else []
            case EventType.usage:
                self.usage = event.data["usage"]
                ends = [event.data, *event.data.get("alternatives", [])]
                for choice, end in zip(self._choices, ends, strict=True):
                    choice.finish(end)
            case EventType.message_stored:
                self.lab[f"{event.data['role']}_message_id"] = event.data["message_id"]
            case _:
                pass
        return []

    def last_chunks(self, *, include_usage: bool) -> list[dict[str, Any]]:
        """Return the chunks with the finish reasons, and the one with the usage if asked for."""
        chunks = [{**self._chunk(choice.last()), "lab": self.lab} for choice in self._choices]
        if include_usage:
            head = self._head("chat.completion.chunk")
            chunks.append({**head, "choices": [], "usage": self.usage})
        return chunks

    def whole(self) -> dict[str, Any]:
        """Return the completion once all events were taken."""
        return {
            **self._head("chat.completion"),
            "choices": [choice.whole() for choice in self._choices],
            "usage": self.usage,
            "lab": self.lab,
        }

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self._created, "model": self._model}
