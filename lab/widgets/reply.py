"""An answer while it streams."""

import asyncio
from uuid import UUID

from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.role import Role
from lab.schemas.text_part import TextPart
from lab.schemas.thinking_part import ThinkingPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.widgets.parts import Part, parts_html


class Reply:
    """
    Collect the events of one answer.

    Parameters
    ----------
    conversation_id : UUID
        The conversation that is answered.
    question : str
        What was asked, to ask again.
    """

    def __init__(self, conversation_id: UUID, question: str) -> None:
        self.conversation_id = conversation_id
        self.question = question
        self.task: asyncio.Task[None] | None = None
        self.run_id: UUID | None = None
        self.message_id: str | None = None
        self.problem = ""
        self.changed = False
        self._content = ""
        self._thinking = ""
        self._calls: list[ToolCall] = []

    def add(self, event: Event) -> None:
        """Take the next event."""
        self.run_id = event.run_id
        self.changed = True
        match event.type:
            case EventType.content:
                self._content += event.data["text"]
            case EventType.thinking:
                self._thinking += event.data["text"]
            case EventType.tool_call:
                self._calls.append(ToolCall.model_validate(event.data["tool_call"]))
            case EventType.message_stored if event.data["role"] == Role.assistant.value:
                self.message_id = event.data["message_id"]
            case EventType.run_failed:
                self.problem = event.data["message"]
            case _:
                pass

    @property
    def html(self) -> str:
        """The answer so far."""
        parts: list[Part] = [ThinkingPart(text=self._thinking)] if self._thinking else []
        if self._content:
            parts.append(TextPart(text=self._content))
        return parts_html([*parts, *(ToolCallPart(tool_call=call) for call in self._calls)])

    def bubble(self) -> dict[str, str]:
        """Return the answer as a message of the page."""
        return {
            "id": self.message_id or f"answer-{self.run_id}",
            "role": Role.assistant.value,
            "html": self.html,
            "run_id": str(self.run_id or ""),
        }
