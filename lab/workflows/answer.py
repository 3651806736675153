"""An answer as it grows."""

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_result import ChatResult
from lab.schemas.finish_reason import FinishReason
from lab.schemas.tool_call import ToolCall
from lab.schemas.usage import Usage


class Answer:
    """Collect the pieces of an answer; what is there survives a cancelled stream."""

    def __init__(self) -> None:
        self.content = ""
        self.thinking = ""
        self.tool_calls: list[ToolCall] = []
        self.finish_reason = FinishReason.cancelled
        self.usage = Usage(prompt_tokens=0, completion_tokens=0, total_tokens=0)

    def add(self, delta: ChatDelta) -> None:
        """Take the next piece."""
        self.content += delta.content
        self.thinking += delta.thinking
        if delta.tool_call is not None:
            self.tool_calls.append(delta.tool_call)
        self.finish_reason = delta.finish_reason or self.finish_reason
        self.usage = delta.usage or self.usage

    def result(self) -> ChatResult:
        """Return the answer so far; `cancelled` as long as the last piece is missing."""
        return ChatResult(
            content=self.content,
            thinking=self.thinking,
            tool_calls=self.tool_calls,
            finish_reason=self.finish_reason,
            usage=self.usage,
        )
