"""A whole answer, put together from the events of its run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from lab.errors import INTERRUPTED, ConflictError, ServiceError, rebuild
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.guard import Guard
from lab.schemas.image import Image
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.route import Route
from lab.schemas.todo import Todo
from lab.schemas.token_logprob import TokenLogprob
from lab.schemas.tool_call import ToolCall
from lab.schemas.usage import Usage

WRITER: Final = Role.assistant.value


@dataclass(frozen=True)
class ToolUse:
    """A call of one of the lab's tools, and what the model was told of it."""

    call: ToolCall
    text: str
    failed: bool


@dataclass(frozen=True)
class Answer:
    """
    What the lab answered.

    Attributes
    ----------
    text : str
        The answer.
    run_id : UUID
        The run, for `lab.receipt`.
    seed : int or None
        Asked for again with this seed, the answer is the same.
    usage : Usage
        What it cost.
    finish_reason : FinishReason
        Why the model stopped.
    receipt : Receipt
        What the model saw.
    thinking : str
        The model's reasoning.
    tool_calls : tuple of ToolCall
        Tools the model calls; the caller runs them.
    tool_uses : tuple of ToolUse
        Tools of the lab that it ran for the answer, as they ended.
    logprobs : tuple of TokenLogprob
        How likely the model held each token, where the question asked.
    guard : Guard or None
        The guard that stopped the answer.
    alternatives : tuple of Answer
        The further answers, where the question asked for several; the first is stored.
    route : Route or None
        By which workflow it was answered, and what the message wants where somebody looked.
    todos : tuple of Todo
        Of the conversation, where it planned.
    images : tuple of Image
        Pictures that were made for the answer.
    conversation_id, message_id : UUID or None
        Where the answer is stored.
    """

    text: str
    run_id: UUID
    seed: int | None
    usage: Usage
    finish_reason: FinishReason
    receipt: Receipt
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_uses: tuple[ToolUse, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    guard: Guard | None = None
    alternatives: tuple["Answer", ...] = ()
    route: Route | None = None
    todos: tuple[Todo, ...] = ()
    images: tuple[Image, ...] = ()
    conversation_id: UUID | None = None
    message_id: UUID | None = None

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Answer":
        """Return the answer that the events of a whole run tell."""
        stored = [e for e in events if e.type is EventType.message_stored]
        told = _last(events, EventType.usage)
        first, *others = [
            cls._choice([e for e in events if e.data.get("index", 0) == index], events, end)
            for index, end in enumerate([told, *told.get("alternatives", [])])
        ]
        return replace(
            first,
            alternatives=tuple(others),
            tool_uses=tuple(_uses(events)),
            route=first.receipt.route,
            todos=tuple(
                Todo.model_validate(todo)
                for todo in _last_or_nothing(events, EventType.todos).get("todos", [])
            ),
            images=tuple(
                Image.model_validate(event.data["image"])
                for event in events
                if event.type is EventType.image
            ),
            # The last: those before it call tools.
            message_id=next(
                (_uuid(e.data["message_id"]) for e in reversed(stored) if e.data["role"] == WRITER),
                None,
            ),
        )

    @classmethod
    def _choice(
        cls, written: Sequence[Event], events: Sequence[Event], end: dict[str, Any]
    ) -> "Answer":
        """Return one answer of a run: its own events, those of the run, and how it ended."""
        started = _last(events, EventType.run_started)
        mine = [event for event in events if "member" not in event.data]
        return cls(
            text=_joined(written, EventType.content),
            run_id=events[0].run_id,
            seed=started["seed"],
            usage=Usage.model_validate(_last(events, EventType.usage)["usage"]),
            finish_reason=FinishReason(end["finish_reason"]),
            guard=Guard(end["guard"]) if "guard" in end else None,
            receipt=Receipt.model_validate(_last(mine, EventType.receipt)["receipt"]),
            thinking=_joined(written, EventType.thinking),
            tool_calls=tuple(
                ToolCall.model_validate(event.data["tool_call"])
                for event in written
                if event.type is EventType.tool_call
            ),
            logprobs=tuple(
                TokenLogprob.model_validate(token)
                for event in written
                for token in event.data.get("logprobs", [])
            ),
            conversation_id=_uuid(started["conversation_id"]),
        )


def raise_failure(event: Event) -> Event:
    """Return the event, or raise why there is no whole answer, if it says so."""
    match event.type:
        case EventType.run_failed:
            raise rebuild(event.data["code"], event.data["message"])
        case EventType.run_interrupted if asks := event.data.get("asks"):
            values = [ask["value"] for ask in asks]
            raise ConflictError(
                f"The run {event.run_id} waits for a reply to {values}; go on with "
                f"`lab.runs.resume(run_id, reply)` or `lab runs resume {event.run_id} --approve`."
            )
        case EventType.run_interrupted:
            raise ServiceError(INTERRUPTED)
        case EventType.run_cancelled:
            raise ConflictError("The run was cancelled before the answer was whole.")
        case _:
            return event


def _last(events: Sequence[Event], type_: EventType) -> dict[str, Any]:
    return next(event.data for event in reversed(events) if event.type is type_)


def _last_or_nothing(events: Sequence[Event], type_: EventType) -> dict[str, Any]:
    return next((event.data for event in reversed(events) if event.type is type_), {})


def _uses(events: Sequence[Event]) -> Iterator[ToolUse]:
    calls: dict[str, ToolCall] = {}
    for event in events:
        if event.type is EventType.tool_started:
            call = ToolCall.model_validate(event.data["tool_call"])
            calls[call.id] = call
        elif event.type is EventType.tool_finished:
            call = calls[event.data["tool_call_id"]]
            yield ToolUse(call, event.data["text"], event.data["failed"])


def _joined(events: Sequence[Event], type_: EventType) -> str:
    return "".join(event.data["text"] for event in events if event.type is type_)


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
