"""Tell an answer as it comes: calls of the lab's own tools are no part of it."""

import json
from collections.abc import Sequence
from typing import Any

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_delta import ToolCallDelta
from lab.schemas.usage import Usage
from lab.workflows.context import ChatContext
from lab.workflows.rounds import Round, run_by_lab


class Teller:
    """
    Tells the pieces of one answer.

    Parameters
    ----------
    context : ChatContext
        The run.
    rounds : sequence of Round
        What was before.
    must_answer : bool
        Whether no tool of the lab can be called any more: what the model writes as a call all the
        same is told as text.
    is_draft : bool
        Whether the answer is refined before it is given, so that its text is a thought yet.
    """

    def __init__(
        self,
        context: ChatContext,
        rounds: Sequence[Round],
        *,
        must_answer: bool,
        is_draft: bool = False,
    ) -> None:
        self._context = context
        self._must_answer = must_answer
        self._type = EventType.thinking if is_draft else EventType.content
        self._gap = "\n\n" if any(one.answer.content for one in rounds) else ""
        self._shown: dict[tuple[int, int], int] = {}

    def tell(self, delta: ChatDelta) -> None:
        """Tell a piece."""
        about: dict[str, Any] = {"index": delta.index} if delta.index else {}
        if delta.logprobs:
            about["logprobs"] = [token.model_dump(mode="json") for token in delta.logprobs]
        if delta.thinking:
            self._context.tell(EventType.thinking, text=delta.thinking, **about)
        elif delta.tool_call is not None:
            self._tell_call(delta.tool_call, about)
        elif delta.tool_call_delta is not None:
            self._tell_piece(delta.tool_call_delta, about)
        elif delta.content or delta.logprobs:
            self._tell_text(delta.content, about)

    def _tell_text(self, text: str, about: dict[str, Any]) -> None:
        gap, self._gap = (self._gap, "") if text else ("", self._gap)
        self._context.tell(self._type, text=gap + text, **about)

    def _tell_call(self, call: ToolCall, about: dict[str, Any]) -> None:
        if not run_by_lab(self._context, [call]):
            dump = call.model_dump(mode="json")
            self._context.tell(EventType.tool_call, tool_call=dump, **about)
        elif self._must_answer:
            self._tell_text(written(call), about)

    def _tell_piece(self, piece: ToolCallDelta, about: dict[str, Any]) -> None:
        """Tell a piece of a call of the client's, numbered among those of its answer."""
        choice = about.get("index", 0)
        place = choice, piece.index
        if piece.name is not None and not self._is_mine(piece.name):
            self._shown[place] = sum(shown == choice for shown, _ in self._shown)
        if place in self._shown:
            shown = piece.model_copy(update={"index": self._shown[place]})
            dump = shown.model_dump(mode="json")
            self._context.tell(EventType.tool_call_delta, tool_call_delta=dump, **about)

    def _is_mine(self, name: str) -> bool:
        return bool(run_by_lab(self._context, [ToolCall(id="-", name=name, arguments={})]))


def as_text(context: ChatContext, answer: ChatResult) -> ChatResult:
    """Return an answer that cannot call the lab's tools any more, its calls of them as text."""
    mine = run_by_lab(context, answer.tool_calls)
    if not mine:
        return answer
    left = [call for call in answer.tool_calls if call not in mine]
    return answer.model_copy(
        update={
            "content": answer.content + "".join(map(written, mine)),
            "tool_calls": left,
            "finish_reason": answer.finish_reason if left else FinishReason.stop,
        }
    )


def written(call: ToolCall) -> str:
    """Return a call as text."""
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def tell_end(context: ChatContext, result: ChatResult, usage: Usage) -> None:
    """Tell what the answer cost, why it ended, and why the further ones did."""
    ends = [_end(choice) for choice in [result, *result.alternatives]]
    further = {"alternatives": ends[1:]} if result.alternatives else {}
    context.tell(EventType.usage, usage=usage.model_dump(mode="json"), **ends[0], **further)


def _end(choice: ChatResult) -> dict[str, str]:
    end = {"finish_reason": choice.finish_reason.value}
    return end if choice.guard is None else {**end, "guard": choice.guard.value}
