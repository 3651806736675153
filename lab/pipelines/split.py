"""Split what a model writes into content, reasoning and tool calls (Hermes and Qwen form)."""

import json
from typing import Literal
from uuid import uuid4

from lab.pipelines.text import overlap
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.tool_call import ToolCall

THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
MARKERS = (THINK, END_THINK, CALL, END_CALL)

State = Literal["content", "thinking", "call"]


class Splitter:
    """
    Sort a stream of text by its markers.

    White space beside a marker belongs to the form and is dropped. A tool call that is no valid
    call is passed on as content, as the model wrote it.

    Parameters
    ----------
    markers : sequence of str
        Opening markers that the model's chat template knows: `<think>`, `<tool_call>`.
    thinking : bool, default=False
        True when the prompt already opened the reasoning.
    calling : bool, default=False
        True when all that is no reasoning is one tool call, without its markers.
    """

    def __init__(
        self,
        markers: tuple[str, ...] = (THINK, CALL),
        *,
        thinking: bool = False,
        calling: bool = False,
    ) -> None:
        self._openings = () if calling else markers
        self._endings = () if calling else (END_CALL,)
        after: State = "call" if calling else "content"
        self._after_thinking: State = after
        self._state: State = "thinking" if thinking else after
        self._text = ""
        self._after_marker = thinking
        self._gap = ""  # white space before the marker, in case what follows is no call
        self.n_calls = 0

    def push(self, text: str) -> list[ChatDelta]:
        """Return the deltas that `text` completes."""
        self._text += text
        deltas: list[ChatDelta] = []
        while (found := self._find()) is not None:
            self._close(*found, deltas)
        if self._state != "call":
            self._emit(self._take(self._n_ready()), deltas)
        return deltas

    def finish(self) -> list[ChatDelta]:
        """Return what is left; an unclosed tool call counts if it is complete."""
        deltas: list[ChatDelta] = []
        text, self._text = self._text, ""
        if self._state == "call":
            self._emit_call(text, "", deltas)
        else:
            self._emit(text, deltas)
        return deltas

    def _find(self) -> tuple[int, str] | None:
        """Return place and text of the next marker that matters in this state."""
        endings = {"content": self._openings, "thinking": (END_THINK,), "call": self._endings}
        found = [(self._text.find(marker), marker) for marker in endings[self._state]]
        return min(((i, marker) for i, marker in found if i >= 0), default=None)

    def _close(self, place: int, marker: str, deltas: list[ChatDelta]) -> None:
        """End the part before `marker` and begin the one after it."""
        part = self._text[:place]
        self._text = self._text[place + len(marker) :]
        if self._state == "call":
            self._emit_call(part, marker, deltas)
        else:
            self._emit(part.rstrip(), deltas)
            self._gap = part[len(part.rstrip()) :]
            self._after_marker = True
        states: dict[str, State] = {
            THINK: "thinking",
            CALL: "call",
            END_THINK: self._after_thinking,
        }
        self._state = states.get(marker, "content")

    def _n_ready(self) -> int:
        """Return how much text is certainly neither a marker nor white space before one."""
        markers = self._openings if self._state == "content" else (END_THINK,)
        n_held = max((overlap(self._text, marker) for marker in markers), default=0)
        if not markers:
            return len(self._text)
        return len(self._text[: len(self._text) - n_held].rstrip())

    def _take(self, n: int) -> str:
        part, self._text = self._text[:n], self._text[n:]
        return part

    def _emit(self, part: str, deltas: list[ChatDelta]) -> None:
        if self._after_marker:
            part = part.lstrip()
        if not part:
            return
        self._after_marker = False
        thinking = self._state == "thinking"
        deltas.append(ChatDelta(thinking=part) if thinking else ChatDelta(content=part))

    def _emit_call(self, body: str, ending: str, deltas: list[ChatDelta]) -> None:
        call = parse_call(body)
        self._after_marker = call is not None
        if call is None:
            deltas.append(ChatDelta(content=self._gap + CALL + body + ending))
        else:
            self.n_calls += 1
            deltas.append(ChatDelta(tool_call=call))


def parse_call(text: str) -> ToolCall | None:
    """
    Return the tool call that `text` is, or None.

    >>> parse_call('{"name": "current_time", "arguments": {}}').name
    'current_time'
    >>> parse_call('{"name": "current_time"') is None
    True
    """
    try:
        call = json.loads(text)
        name, arguments = call["name"], call["arguments"]
        if isinstance(arguments, str):
            arguments = json.loads(arguments)
    except (ValueError, KeyError, TypeError):
        return None
    if not (isinstance(name, str) and name and isinstance(arguments, dict)):
        return None
    return ToolCall(id=f"call_{uuid4().hex}", name=name, arguments=arguments)
