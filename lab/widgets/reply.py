"""An answer while it streams."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

from lab.client.answer import INTERRUPTED
from lab.messages import Part, text_of
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.widgets.markdown import to_html
from lab.widgets.parts import guard_html, parts_html


class Reply:
    """
    Collect the events of one answer.

    Parameters
    ----------
    conversation_id : UUID or None
        The conversation that is answered; None until it is made.
    question : str
        What was asked, to ask again.
    instead_of : Reply, optional
        The failed answer whose place this one takes.
    run_id : UUID, optional
        The run, of an answer that streams already.
    """

    def __init__(
        self,
        conversation_id: UUID | None,
        question: str,
        instead_of: "Reply | None" = None,
        run_id: UUID | None = None,
    ) -> None:
        self.conversation_id = conversation_id
        self.question = question
        self.instead_of = instead_of
        self.asked = _said(question)
        self.task: asyncio.Task[None] | None = None
        self.run_id = run_id
        self.message_id: str | None = None
        self.problem = ""
        self.changed = False
        self._content = ""
        self._thinking = ""
        self._calls: list[ToolCall] = []
        self._guard = ""

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.run_id = event.run_id
        self.changed = True
        if event.data.get("index"):  # the page shows the answer that is stored
            return
        match event.type:
            case EventType.content:
                self._content += event.data["text"]
            case EventType.thinking:
                self._thinking += event.data["text"]
            case EventType.tool_call:
                self._calls.append(ToolCall.model_validate(event.data["tool_call"]))
            case EventType.message_stored if event.data["role"] == Role.assistant.value:
                self.message_id = event.data["message_id"]
            case EventType.usage:
                self._guard = event.data.get("guard", "")
            case EventType.run_failed | EventType.run_interrupted:
                self.problem = event.data.get("message", INTERRUPTED)
            case _:
                pass

    @property
    def html(self) -> str:
        """The answer so far."""
        parts: list[Part] = [ThinkingPart(text=self._thinking)] if self._thinking else []
        if self._content:
            parts.append(TextPart(text=self._content))
        html = parts_html([*parts, *(ToolCallPart(tool_call=call) for call in self._calls)])
        return html + guard_html(self._guard) if self._guard else html

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

    def bubble(self) -> dict[str, str]:
        """Return the answer as a message of the page."""
        return {
            "id": self.message_id or f"answer-{self.run_id}",
            "role": Role.assistant.value,
            "html": self.html,
            "run_id": str(self.run_id or ""),
        }


def _said(text: str) -> dict[str, str]:
    """Return what was just said as a message of the page; it has no id of the lab's yet."""
    return {"id": f"said-{uuid4()}", "role": "user", "html": to_html(text), "run_id": ""}
