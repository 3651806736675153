"""Ask the model of a turn something beside its answer, and tell what came of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic_core import from_json

from lab.errors import ContextLengthError, InputError, ServiceError
from lab.pipelines import run_pipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.response_format import ResponseFormat
from lab.schemas.response_kind import ResponseKind
from lab.schemas.role import Role
from lab.schemas.usage import Usage
from lab.workflows.context import ChatContext
from lab.workflows.rounds import usage_of
from lab.workflows.telling import tell_end
from lab.workflows.tool_arguments import check_arguments
from lab.workflows.window import context_length_of

LEAST_TOKENS: Final = 24
"""Room for an answer that says anything."""
LENGTHS: Final = {"minItems", "maxItems", "minLength", "maxLength"}
ANEW: Final[dict[str, Any]] = {}
"""First in what a step returns for a collected key: what was collected before is over."""
NOTHING: Final = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)
"""What a text costs that no model wrote."""


def collected(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Return what steps gave so far, those at once in their order.

    >>> collected([{"a": 1}], [{"b": 2}]), collected([{"a": 1}], [ANEW, {"b": 2}])
    ([{'a': 1}, {'b': 2}], [{'b': 2}])
    """
    return new[1:] if new[:1] == [ANEW] else [*old, *new]


async def ask(
    context: ChatContext,
    messages: Sequence[ChatMessage],
    most_tokens: int,
    form: Mapping[str, Any] | None = None,
) -> ChatResult:
    """
    Return what the model says to messages of the lab's.

    Parameters
    ----------
    context : ChatContext
        The run; what it costs is noted there.
    messages : sequence of ChatMessage
        The prompt.
    most_tokens : int
        Of the answer.
    form : mapping, optional
        JSON Schema that the answer is held to.

    Raises
    ------
    ContextLengthError
        If the window leaves no room for an answer.
    LabError
        What goes wrong with the model.
    """
    length = context.context_length or context_length_of(context.chat)
    n_tokens = context.chat.count_tokens(messages)
    if n_tokens + LEAST_TOKENS > length:
        raise ContextLengthError(n_tokens, length, LEAST_TOKENS)
    asked = {
        "max_new_tokens": min(most_tokens, length - n_tokens),
        "n": 1,
        "logprobs": False,
        "tool_choice": None,
        "response_format": form and response_format(form),
        # Thoughts would take the tokens of the form.
        **({"temperature": 0.0, "stop": [], "enable_thinking": False} if form else {}),
    }
    parameters = context.parameters.model_copy(update=asked)
    with context.breaker.counting():
        return await run_pipeline(context.chat, messages, parameters, owner=context.owner_id)


async def ask_form(
    context: ChatContext,
    messages: Sequence[ChatMessage],
    most_tokens: int,
    form: Mapping[str, Any],
) -> tuple[dict[str, Any], ChatResult]:
    """
    Return what the model says in a form, read and as it came.

    Of an answer that was cut off what is whole counts; the form's first key is always there.

    Raises
    ------
    ServiceError
        If there is nothing whole in it, or the model's server did not keep to the form.
    InputError
        If the model's server takes no form.
    LabError
        What `ask` raises.
    """
    try:
        answer = await ask(context, messages, most_tokens, form)
    except ContextLengthError:
        raise
    except InputError as error:
        raise InputError(
            f"`{context.chat.model.id}` cannot be held to a form, which this workflow needs: "
            f"choose a model of another server. ({error})"
        ) from error
    value = _read(answer.content, form)
    if value is None:
        spend(context, answer)
        raise ServiceError(
            f"`{context.chat.model.id}` was asked for JSON with {', '.join(form['required'])}, and "
            f"wrote: {answer.content[:120]!r}. Ask again, or let another model answer."
        )
    return value, answer


def _read(content: str, form: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the JSON of an answer, or None where it does not keep to the form."""
    try:
        value = from_json(content, allow_partial=True)
        check_arguments("answer", {**_unbounded(form), "required": form["required"][:1]}, value)
    except (ValueError, InputError):
        return None
    return dict(value)


def _unbounded(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a form without its lengths: not every server keeps to them, and who asked cuts."""
    return {
        key: _unbounded(value) if isinstance(value, Mapping) else value
        for key, value in form.items()
        if key not in LENGTHS
    }


def object_of(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object that has all of these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def response_format(form: Mapping[str, Any]) -> ResponseFormat:
    """Return the format of answers that a JSON Schema describes."""
    # Strict servers know no lengths, without which a small model writes on and on.
    asked = {"name": "answer", "schema": dict(form), "strict": False}
    return ResponseFormat(type=ResponseKind.json_schema, json_schema=asked)


def instructed(window: Sequence[Mapping[str, Any]], instruction: str) -> list[ChatMessage]:
    """Return a window in which the system message begins with what shall be done."""
    messages = [ChatMessage.model_validate(message) for message in window]
    has_system = messages[:1] and messages[0].role is Role.system
    before = messages[0].content if has_system else None
    content = f"{instruction}\n\n{before}" if before else instruction
    system = ChatMessage(role=Role.system, content=content)
    return [system, *(messages[1:] if has_system else messages)]


def room_for(context: ChatContext, instruction: str, most_tokens: int) -> int:
    """
    Return the tokens that a window leaves for an instruction and the answer to it.

    Of a long answer no more than an eighth of the window: it gets what else is free.
    """
    length = context.context_length or context_length_of(context.chat)
    head = ChatMessage(role=Role.system, content=instruction)
    least = min(most_tokens, max(length // 8, LEAST_TOKENS))
    return context.chat.count_tokens([head]) + least


def spend(context: ChatContext, *answers: ChatResult) -> list[dict[str, Any]]:
    """Note what answers cost beside that of the turn; return it for the state."""
    context.spent.extend(answer.usage for answer in answers)
    recorder = context.recorder
    if recorder.usage is None:
        recorder.usage = usage_of([], spent=context.spent)
    else:
        recorder.usage = usage_of([], spent=[recorder.usage, *(one.usage for one in answers)])
    return [answer.usage.model_dump(mode="json") for answer in answers]


def tell(context: ChatContext, type_: EventType, **data: Any) -> list[dict[str, Any]]:
    """Tell what happens; return it for the state, so that a resumed turn tells it again."""
    context.tell(type_, **data)
    return [{"type": type_.value, "data": data}]


def tell_stage(context: ChatContext, name: str, n_done: int, n_total: int) -> list[dict[str, Any]]:
    """Tell how far a turn has come."""
    return tell(context, EventType.stage, name=name, n_done=n_done, n_total=n_total)


def tell_route(context: ChatContext) -> None:
    """Tell what a message wants, where somebody looked."""
    route = context.route
    if route.intent is not None or route.reason:
        context.tell(EventType.intent, **route.model_dump(mode="json"))


def tell_text(context: ChatContext, text: str) -> ChatResult:
    """Tell an answer that the lab puts together from what models said."""
    result = ChatResult(content=text, finish_reason=FinishReason.stop, usage=NOTHING)
    context.tell(EventType.content, text=text)
    tell_end(context, result, usage_of([], result, context.spent))
    return result
