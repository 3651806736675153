"""From the pieces of a streamed chat completion to the deltas of an answer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from lab.pipelines.split import Splitter
from lab.pipelines.text import StopMatcher
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.finish_reason import FinishReason
from lab.schemas.token_logprob import TokenLogprob
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_delta import ToolCallDelta
from lab.schemas.top_logprob import TopLogprob
from lab.texts import storable, storable_json

REASONS: Final = {
    "length": FinishReason.length,
    "tool_calls": FinishReason.tool_calls,
    "function_call": FinishReason.tool_calls,
    "content_filter": FinishReason.content_filter,
}
"""What servers say beside `stop` and its many names."""

FAILED: Final = frozenset({"abort", "cancelled", "error"})
"""What servers say of an answer that they gave up."""


@dataclass(slots=True)
class _Call:
    """A tool call as it grows."""

    id: str
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Counts:
    """What a server said an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None
    """Of the prompt's, those that were not run again; None where the server does not say."""


@dataclass(slots=True)
class Answer:
    """
    An answer as it grows.

    Parameters
    ----------
    top_logprobs : int
        Alternatives kept of each token.
    stops : sequence of str
        Texts at which it is cut here; none where the server does it.
    splitter : Splitter, optional
        Looks for reasoning and tool calls in its text, where the server leaves them there.
    """

    top_logprobs: int = 0
    stops: Sequence[str] = ()
    splitter: Splitter | None = None
    finish_reason: FinishReason | None = None
    failed: str = ""
    counts: Counts | None = None
    texts: list[str] = field(default_factory=list)
    _calls: dict[int, _Call] = field(default_factory=dict)
    _n_calls: int = 0
    _matcher: StopMatcher = field(init=False)

    def __post_init__(self) -> None:
        self._matcher = StopMatcher(self.stops)

    def take(self, chunk: dict[str, Any]) -> list[ChatDelta]:
        """
        Return the deltas that a piece brings.

        Raises
        ------
        LookupError, TypeError, ValueError
            If it is no piece of a chat completion.
        """
        if usage := chunk.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            self.counts = Counts(
                int(usage["prompt_tokens"]),
                int(usage["completion_tokens"]),
                details.get("cached_tokens"),
            )
        choices = chunk.get("choices") or []
        if not choices:
            return []
        choice = choices[0]
        deltas = self._deltas(choice.get("delta") or {}, choice.get("logprobs") or {})
        if reason := choice.get("finish_reason"):
            self._end(str(reason))
        return deltas

    def finish(self) -> list[ChatDelta]:
        """Return what is left: text that was held back, and the whole tool calls."""
        deltas = self._content("" if self._matcher.stopped else self._matcher.finish())
        if self.splitter is not None:
            deltas += self.splitter.finish()
        for _, call in sorted(self._calls.items()):
            whole = parsed(call.name, call.arguments, call.id)
            if whole is None:  # cut off, or no call: shown as the model wrote it
                deltas.append(ChatDelta(content=f"<tool_call>{call.name}\n{call.arguments}"))
            else:
                deltas.append(ChatDelta(tool_call=whole))
        self._n_calls += sum(delta.tool_call is not None for delta in deltas)
        if self._n_calls and self.finish_reason is FinishReason.stop:
            self.finish_reason = FinishReason.tool_calls
        return deltas

    def _deltas(self, delta: dict[str, Any], logprobs: dict[str, Any]) -> list[ChatDelta]:
        deltas = []
        if thinking := storable(delta.get("reasoning_content") or delta.get("reasoning") or ""):
            self.texts.append(thinking)
            deltas.append(ChatDelta(thinking=thinking))
        if (content := storable(delta.get("content") or "")) and not self._matcher.stopped:
            deltas += self._content(self._matcher.push(content))
        deltas += [self._piece(call) for call in delta.get("tool_calls") or []]
        if tokens := [self._logprob(token) for token in logprobs.get("content") or []]:
            last = deltas.pop() if deltas else ChatDelta()
            deltas.append(last.model_copy(update={"logprobs": tokens}))
        return deltas

    def _content(self, text: str) -> list[ChatDelta]:
        if not text:
            return []
        self.texts.append(text)
        if self.splitter is None:
            return [ChatDelta(content=text)]
        deltas = self.splitter.push(text)
        self._n_calls += sum(delta.tool_call is not None for delta in deltas)
        return deltas

    def _piece(self, piece: dict[str, Any]) -> ChatDelta:
        """Add a piece to its tool call; servers that send whole calls may give no index."""
        index = piece.get("index")
        if index is None:
            index = len(self._calls) if piece.get("id") or not self._calls else max(self._calls)
        function = piece.get("function") or {}
        arguments = function.get("arguments") or ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        is_first = index not in self._calls
        if is_first:
            self._calls[index] = _Call(piece.get("id") or f"call_{uuid4().hex}")
        call = self._calls[index]
        call.name += function.get("name") or ""
        call.arguments += arguments
        self.texts.append(f"{function.get('name') or ''}{arguments}")
        return ChatDelta(
            tool_call_delta=ToolCallDelta(
                index=index,
                id=call.id if is_first else None,
                name=call.name if is_first else None,
                arguments=storable(arguments),
            )
        )

    def _logprob(self, token: dict[str, Any]) -> TokenLogprob:
        others = token.get("top_logprobs") or []
        return TokenLogprob(
            **_likely(token),
            top_logprobs=[TopLogprob(**_likely(other)) for other in others[: self.top_logprobs]],
        )

    def _end(self, reason: str) -> None:
        if reason in FAILED:
            self.failed = reason
        elif self._matcher.stopped:
            self.finish_reason = FinishReason.stop
        else:
            self.finish_reason = REASONS.get(reason, FinishReason.stop)


def parsed(name: str, arguments: str, call_id: str) -> ToolCall | None:
    """
    Return the tool call that some texts are, or None.

    >>> parsed("clock", "", "1").arguments, parsed("clock", '{"zone": "U', "1")
    ({}, None)
    """
    try:
        found = storable_json(json.loads(arguments or "{}"))
    except (ValueError, RecursionError):
        return None
    if not (name and isinstance(found, dict)):
        return None
    return ToolCall(id=storable(call_id), name=storable(name), arguments=found)


def _likely(token: dict[str, Any]) -> dict[str, Any]:
    return {
        "token": storable(token["token"]),
        "logprob": min(float(token["logprob"]), 0.0),
        "bytes": token.get("bytes"),
    }
