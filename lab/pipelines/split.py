"""Split what a model writes into content, reasoning and tool calls."""

from collections.abc import Collection
from typing import Literal

from lab.pipelines.calls import CallReader, may_begin
from lab.pipelines.text import overlap
from lab.schemas.chat_delta import ChatDelta

THINK, END_THINK = "<think>", "</think>"
THINKING = {
    THINK: END_THINK,
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<thinking>": "</thinking>",
    "<reasoning>": "</reasoning>",
    "<seed:think>": "</seed:think>",
}
"""What opens reasoning, and what ends it."""

CALL, END_CALL = "<tool_call>", "</tool_call>"
CALLING = {CALL: END_CALL, "[TOOL_CALLS]": "", "<|python_tag|>": ""}
"""What opens a tool call, and what ends it; empty where the call goes on to the end."""

MARKERS = (
    *THINKING,
    *THINKING.values(),
    *CALLING,
    END_CALL,
    "[ARGS]",
    "[CALL_ID]",
)

State = Literal["content", "thinking", "call"]


class Splitter:
    """
    Sort a stream of text by its markers.

    White space beside a marker belongs to the form and is dropped. A tool call that is no valid
    call is passed on as content, as the model wrote it; its arguments come piece by piece while
    they are written, and then the whole call.

    Parameters
    ----------
    markers : sequence of str
        Opening markers that matter, of `THINKING` and `CALLING`.
    thinking : str, optional
        The marker with which the prompt already opened the reasoning.
    calling : bool, default=False
        True when all that is no reasoning is one tool call, without its markers.
    names : collection of str
        Tools that may be called: an answer that begins with a call of one is one without markers.
    """

    def __init__(
        self,
        markers: tuple[str, ...] = (THINK, CALL),
        *,
        thinking: str = "",
        calling: bool = False,
        names: Collection[str] = (),
    ) -> None:
        self._openings = () if calling else markers
        self._calling = calling
        self._names = names
        self._opening = thinking  # of the part that is read now
        self._state: State = "thinking" if thinking else "content"
        self._text = ""
        self._after_marker = bool(thinking)
        self._gap = ""  # white space before the marker, in case what follows is no call
        self._bare = bool(names)  # the content has not begun: it may be a call without markers
        self._reader = CallReader()
        self.n_calls = 0
        if calling and not thinking:
            self._open_call("")

    def push(self, text: str) -> list[ChatDelta]:
        """Return the deltas that `text` completes."""
        self._text += text
        deltas: list[ChatDelta] = []
        if not self._ready():
            return deltas
        while (found := self._find()) is not None:
            self._close(*found, deltas)
            if not self._ready():
                return deltas
        if self._state == "call":
            deltas += self._reader.push(self._take(self._n_ready()))
        else:
            self._emit(self._take(self._n_ready()), deltas)
        return deltas

    def finish(self) -> list[ChatDelta]:
        """Return what is left; an unclosed tool call counts if it is complete."""
        deltas: list[ChatDelta] = []
        text, self._text = self._text, ""
        if self._state == "call":
            deltas += self._reader.push(text)
            self._end_call("", deltas)
        else:
            self._emit(text, deltas)
        return deltas

    def _ready(self) -> bool:
        """Return False while the content may still turn out to begin with a call."""
        if not (self._bare and self._state == "content" and self._text.strip()):
            return True
        start = self._text.lstrip()
        if any(start.startswith(m) or m.startswith(start) for m in self._openings):
            return True
        begins = may_begin(start, self._names)
        if begins is None:
            return False
        self._bare = False
        if begins:
            self._open_call("")
        return True

    def _endings(self) -> tuple[str, ...]:
        match self._state:
            case "content":
                return self._openings
            case "thinking":
                return (THINKING[self._opening],)
            case _:
                ending = CALLING.get(self._opening, "") or self._opening
                return (ending,) if ending else ()

    def _find(self) -> tuple[int, str] | None:
        """Return place and text of the next marker that matters in this state."""
        found = [(self._text.find(marker), marker) for marker in self._endings()]
        return min(((i, marker) for i, marker in found if i >= 0), default=None)

    def _close(self, place: int, marker: str, deltas: list[ChatDelta]) -> None:
        """End the part before `marker` and begin the one after it."""
        part = self._text[:place]
        self._text = self._text[place + len(marker) :]
        if self._state == "call":
            deltas += self._reader.push(part)
            self._end_call("" if marker in CALLING else marker, deltas)
        else:
            self._emit(part.rstrip(), deltas)
            self._gap = part[len(part.rstrip()) :]
            self._after_marker = True
        if marker in CALLING:
            self._open_call(marker)
        elif marker in THINKING:
            self._state, self._opening = "thinking", marker
        elif self._calling:
            self._open_call("")
        else:
            self._state = "content"

    def _n_ready(self) -> int:
        """Return how much text is certainly neither a marker nor white space before one."""
        markers = self._endings()
        n_held = max((overlap(self._text, marker) for marker in markers), default=0)
        n_free = len(self._text) - n_held
        if not markers or self._state == "call":
            return n_free
        return len(self._text[:n_free].rstrip())

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
        self._bare = self._bare and thinking
        deltas.append(ChatDelta(thinking=part) if thinking else ChatDelta(content=part))

    def _open_call(self, opening: str) -> None:
        self._state, self._opening = "call", opening
        names = () if opening or self._calling else self._names
        self._reader = CallReader(self.n_calls, names)

    def _end_call(self, ending: str, deltas: list[ChatDelta]) -> None:
        rest = self._reader.finish()
        self.n_calls += self._reader.n_calls
        self._after_marker = rest is not None
        if rest is None:
            text = self._gap + self._opening + self._reader.text + ending
            deltas.append(ChatDelta(content=text))
        else:
            deltas += rest
