"""A whole answer, put together from the events of its run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from lab.errors import rebuild
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.receipt import Receipt
from lab.schemas.tool_call import ToolCall
from lab.schemas.usage import Usage


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
    conversation_id: UUID | None = None
    message_id: UUID | None = None

    def __str__(self) -> str:
        return self.text

    @classmethod
    def of(cls, events: Sequence[Event]) -> "Answer":
        """Return the answer that the events of a whole run tell."""
        started = _last(events, EventType.run_started)
        cost = _last(events, EventType.usage)
        stored = [e for e in events if e.type is EventType.message_stored]
        return cls(
            text=_joined(events, EventType.content),
            run_id=events[0].run_id,
            seed=started["seed"],
            usage=Usage.model_validate(cost["usage"]),
            finish_reason=FinishReason(cost["finish_reason"]),
            receipt=Receipt.model_validate(_last(events, EventType.receipt)["receipt"]),
            thinking=_joined(events, EventType.thinking),
            tool_calls=tuple(
                ToolCall.model_validate(event.data["tool_call"])
                for event in events
                if event.type is EventType.tool_call
            ),
            conversation_id=_uuid(started["conversation_id"]),
            message_id=next(
                (_uuid(e.data["message_id"]) for e in stored if e.data["role"] == "assistant"), None
            ),
        )


def raise_failure(event: Event) -> Event:
    """Return the event, or raise the error that it reports."""
    if event.type is EventType.run_failed:
        raise rebuild(event.data["code"], event.data["message"])
    return event


def _last(events: Sequence[Event], type_: EventType) -> dict[str, Any]:
    return next(event.data for event in reversed(events) if event.type is type_)


def _joined(events: Sequence[Event], type_: EventType) -> str:
    return "".join(event.data["text"] for event in events if event.type is type_)


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)
