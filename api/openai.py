"""Between OpenAI's shapes and the lab's."""

import json
import time
from typing import Any

from pydantic import ValidationError

from lab.errors import InputError
from lab.schemas.chat_completion_request import ChatCompletionRequest
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.openai_media_content import OpenAIMediaContent
from lab.schemas.openai_message import OpenAIMessage
from lab.schemas.openai_role import OpenAIRole
from lab.schemas.openai_text_content import OpenAITextContent
from lab.schemas.openai_tool_call import OpenAIToolCall
from lab.schemas.response_kind import ResponseKind
from lab.schemas.role import Role
from lab.schemas.tool import Tool
from lab.schemas.tool_call import ToolCall

NO_TOOLS = "none"


def turn_of(request: ChatCompletionRequest) -> ChatTurn:
    """Return the request as a chat turn; only what it sets overrides profile and user."""
    _refuse_unsupported(request)
    tools = [] if request.tool_choice == NO_TOOLS else request.tools or []
    return ChatTurn(
        profile=request.model,
        messages=[_message(message) for message in request.messages],
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


def _refuse_unsupported(request: ChatCompletionRequest) -> None:
    """Refuse what would change the answer and is not done here; its default is what is done."""
    wanted_format = request.response_format
    wanted = {
        "logprobs": request.logprobs and "gives no probabilities",
        "top_logprobs": request.top_logprobs and "gives no probabilities",
        "frequency_penalty": request.frequency_penalty and "applies no penalties",
        "presence_penalty": request.presence_penalty and "applies no penalties",
        "repetition_penalty": request.repetition_penalty not in (None, 1)
        and "applies no penalties",
        "min_p": request.min_p and "samples without it",
        "logit_bias": request.logit_bias and "applies no bias",
        "n": (request.n or 1) > 1 and "gives one answer",
        "response_format": wanted_format is not None
        and wanted_format.type is not ResponseKind.text
        and "holds no answer to a format other than `text`",
        "tool_choice": request.tool_choice not in (None, "auto", NO_TOOLS)
        and "lets the model choose its tools: `auto` or `none`",
    }
    for name, why in wanted.items():
        if why:
            raise InputError(f"`{name}`: this lab {why}; leave it out.")


def _parameters(request: ChatCompletionRequest) -> GenerationParameters:
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    values = {
        "max_new_tokens": request.max_completion_tokens or request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": [text for text in stop or [] if text] or None,
        "seed": request.seed,
        "enable_thinking": request.enable_thinking,
    }
    try:
        return GenerationParameters.model_validate(
            {key: value for key, value in values.items() if value is not None}
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(f"`{problem['loc'][0]}`: {problem['msg']}.") from None


def _message(message: OpenAIMessage) -> ChatMessage:
    content = message.content
    if isinstance(content, list):
        content = "".join(map(_text, content))
    role = Role.system if message.role is OpenAIRole.developer else Role(message.role.value)
    if role is Role.tool and not message.tool_call_id:
        raise InputError("`messages`: a tool message needs the `tool_call_id` it answers.")
    return ChatMessage(
        role=role,
        name=None if role is Role.tool else message.name or None,
        content=content,
        tool_calls=[_call(call) for call in message.tool_calls or []],
        tool_call_id=message.tool_call_id if role is Role.tool else None,
    )


def _text(piece: OpenAITextContent | OpenAIMediaContent) -> str:
    if isinstance(piece, OpenAIMediaContent):
        raise InputError(
            f"`messages`: the models of this lab read text, and cannot take `{piece.type}`: they "
            "neither see nor hear. Leave it out; add the text of a file as a document "
            "(POST /v1/documents)."
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


class Completion:
    """
    A chat completion as it grows, in OpenAI's shapes.

    Parameters
    ----------
    model : str
        What the request asked for.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._created = int(time.time())
        self._n_calls = 0
        self._message: dict[str, Any] = {"role": "assistant", "content": ""}
        self.id = ""
        self.lab: dict[str, Any] = {}
        self.usage: dict[str, Any] = {}
        self.finish_reason: str | None = None

    def take(self, event: Event) -> dict[str, Any] | None:
        """Take an event; return the delta of the message that it brings, if any."""
        match event.type:
            case EventType.run_started:
                self.id = f"chatcmpl-{event.run_id}"
                self.lab = {"run_id": str(event.run_id), **event.data}
                return {"role": "assistant", "content": ""}
            case EventType.content:
                self._message["content"] += event.data["text"]
                return {"content": event.data["text"]}
            case EventType.thinking:
                text = self._message.get("reasoning_content", "") + event.data["text"]
                self._message["reasoning_content"] = text
                return {"reasoning_content": event.data["text"]}
            case EventType.tool_call:
                return self._tool_call(ToolCall.model_validate(event.data["tool_call"]))
            case EventType.usage:
                self.usage, self.finish_reason = event.data["usage"], event.data["finish_reason"]
            case EventType.message_stored:
                self.lab[f"{event.data['role']}_message_id"] = event.data["message_id"]
            case _:
                pass
        return None

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """Return a chunk of a streamed completion."""
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def last_chunk(self, *, include_usage: bool) -> list[dict[str, Any]]:
        """Return the chunk with the finish reason, and the one with the usage if asked for."""
        chunks = [{**self.chunk({}, self.finish_reason), "lab": self.lab}]
        if include_usage:
            head = self._head("chat.completion.chunk")
            chunks.append({**head, "choices": [], "usage": self.usage})
        return chunks

    def whole(self) -> dict[str, Any]:
        """Return the completion once all events were taken."""
        message = {"refusal": None, **self._message}
        if self._n_calls and not message["content"]:
            message["content"] = None
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self.finish_reason,
        }
        return {
            **self._head("chat.completion"),
            "choices": [choice],
            "usage": self.usage,
            "lab": self.lab,
        }

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self._created, "model": self._model}

    def _tool_call(self, call: ToolCall) -> dict[str, Any]:
        written = {
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
        }
        self._message.setdefault("tool_calls", []).append(written)
        index, self._n_calls = self._n_calls, self._n_calls + 1
        return {"tool_calls": [{"index": index, **written}]}
