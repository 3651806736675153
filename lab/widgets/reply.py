"""An answer while it streams."""

import asyncio
from collections.abc import Sequence
from html import escape
from typing import Any
from uuid import UUID, uuid4

from lab.errors import INTERRUPTED
from lab.messages import Part, text_of
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.schemas.tool_result_part import ToolResultPart
from lab.widgets.markdown import to_html
from lab.widgets.parts import guard_html, parts_html
from lab.widgets.pictures import Attached


class Reply:
    """
    Collect the events of one answer.

    Parameters
    ----------
    conversation_id : UUID or None
        The conversation that is answered; None until it is made.
    question : str
        What was asked, to ask again.
    pictures : sequence of Attached
        What came with it.
    instead_of : Reply, optional
        The failed answer whose place this one takes.
    run_id : UUID, optional
        The run, of an answer that streams already.

    Attributes
    ----------
    calls : list of ToolCall
        Tools that the answer waits to call until the person allows it.
    """

    def __init__(
        self,
        conversation_id: UUID | None,
        question: str,
        pictures: Sequence[Attached] = (),
        *,
        instead_of: "Reply | None" = None,
        run_id: UUID | None = None,
    ) -> None:
        self.conversation_id = conversation_id
        self.question = question
        self.pictures = pictures
        self.instead_of = instead_of
        self.asked = _said(question, pictures)
        self.task: asyncio.Task[None] | None = None
        self.run_id = run_id
        self.message_id: str | None = None
        self.problem = ""
        self.changed = False
        self.calls: list[ToolCall] = []
        self._parts: list[Part] = []
        self._guard = ""
        self._stage = ""
        self._made: list[str] = []

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.run_id = event.run_id
        self.changed = True
        if event.data.get("index"):  # the page shows the answer that is stored
            return
        match event.type:
            case EventType.message_stored if event.data["role"] == Role.assistant.value:
                self.message_id = event.data["message_id"]
            case EventType.stage:
                self._stage = "{name} {n_done}/{n_total}".format(**event.data)
            case EventType.image:
                self._made.append(event.data["image"]["file_id"])
            case EventType.usage:
                self._stage = ""
                self._guard = event.data.get("guard", "")
            case EventType.run_interrupted if calls := waiting_calls(event):
                self.calls = calls
            case EventType.run_failed | EventType.run_interrupted:
                self.problem = event.data.get("message", INTERRUPTED)
            case _:
                self._add_part(event)

    def _add_part(self, event: Event) -> None:
        """Take an event that brings a part of the answer, or a piece of one."""
        match event.type:
            case EventType.content:
                self._join(TextPart(text=event.data["text"]))
            case EventType.thinking:
                self._join(ThinkingPart(text=event.data["text"]))
            case EventType.tool_call | EventType.tool_started:
                call = ToolCall.model_validate(event.data["tool_call"])
                self._parts.append(ToolCallPart(tool_call=call))
            case EventType.tool_finished:
                told = {key: event.data[key] for key in ("tool_call_id", "text")}
                self._parts.append(ToolResultPart(**told))
            case _:
                pass

    @property
    def html(self) -> str:
        """The answer so far."""
        html = parts_html(self._parts)
        if self._stage:
            html += f'<p class="lab-stage">{escape(self._stage)}</p>'
        return html + guard_html(self._guard) if self._guard else html

    def _join(self, piece: TextPart | ThinkingPart) -> None:
        """Put a piece at the end of the last part, if that is of its kind."""
        last = self._parts[-1] if self._parts else None
        if isinstance(last, TextPart | ThinkingPart) and last.type == piece.type:
            self._parts[-1] = last.model_copy(update={"text": last.text + piece.text})
        else:
            self._parts.append(piece)

    def left(self, messages: Sequence[Message]) -> list[Message]:
        """Return what this answer, having failed, left among the messages of its conversation."""
        if self.run_id is not None:
            return [message for message in messages if message.run_id == self.run_id]
        # It failed before it told its run: at most the question was stored.
        return [
            message
            for message in messages[-1:]
            if message.role is Role.user and text_of(message.parts) == self.question
        ]

    def bubble(self) -> dict[str, Any]:
        """Return the answer as a message of the page."""
        return {
            "id": self.message_id or f"answer-{self.run_id}",
            "role": Role.assistant.value,
            "html": self.html,
            "run_id": str(self.run_id or ""),
            "pictures": self._made,
        }


def waiting_calls(event: Event) -> list[ToolCall]:
    """Return the calls of tools that a run which ended so waits to make."""
    if event.type is not EventType.run_interrupted:
        return []
    asked = [ask["value"] for ask in event.data.get("asks", [])]
    return [
        ToolCall.model_validate(call)
        for value in asked
        if isinstance(value, dict) and value.get("kind") == "approval"
        for call in value["calls"]
    ]


def _said(text: str, pictures: Sequence[Attached]) -> dict[str, Any]:
    """Return what was just said as a message of the page; it has no id of the lab's yet."""
    return {
        "id": f"said-{uuid4()}",
        "role": "user",
        "html": to_html(text),
        "run_id": "",
        "pictures": [picture.key for picture in pictures],
    }
