"""An answer as it grows, and the further ones of the same question."""

from dataclasses import dataclass, field

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_result import ChatResult
from lab.schemas.finish_reason import FinishReason
from lab.schemas.guard import Guard
from lab.schemas.token_logprob import TokenLogprob
from lab.schemas.tool_call import ToolCall
from lab.schemas.usage import Usage

NO_USAGE = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)


class Answer:
    """Collect the pieces of `n` answers; what is there survives a cancelled stream."""

    def __init__(self) -> None:
        self._choices = {0: _Choice()}
        self._usage = NO_USAGE

    def add(self, delta: ChatDelta) -> None:
        """Take the next piece."""
        self._choices.setdefault(delta.index, _Choice()).add(delta)
        self._usage = delta.usage or self._usage

    def result(self) -> ChatResult:
        """Return the answer so far; `cancelled` as long as the last piece is missing."""
        first, *others = [self._choices[index] for index in sorted(self._choices)]
        alternatives = [other.result(self._usage, []) for other in others]
        return first.result(self._usage, alternatives)


@dataclass(slots=True)
class _Choice:
    content: str = ""
    thinking: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish_reason: FinishReason = FinishReason.cancelled
    guard: Guard | None = None

    def add(self, delta: ChatDelta) -> None:
        self.content += delta.content
        self.thinking += delta.thinking
        if delta.tool_call is not None:
            self.tool_calls.append(delta.tool_call)
        self.logprobs.extend(delta.logprobs)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.guard = delta.guard or self.guard

    def result(self, usage: Usage, alternatives: list[ChatResult]) -> ChatResult:
        return ChatResult(
            content=self.content,
            thinking=self.thinking,
            tool_calls=self.tool_calls,
            logprobs=self.logprobs,
            finish_reason=self.finish_reason,
            guard=self.guard,
            alternatives=alternatives,
            usage=usage,
        )
