"""What a dialogue is, and the text that a model sees of it.

`render` writes exactly what the chat template of `lab-tiny` writes; a test holds the two together.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.prompts import DEFAULT_SYSTEM

Role = Literal["system", "user", "assistant", "tool"]
Json = Mapping[str, Any]

THINK_LINE = "Think before you answer."


@dataclass(frozen=True)
class Message:
    """One message; a model learns it when it has a skill."""

    role: Role
    content: str
    skill: str = ""
    """What the message shows, such as "recall"; empty for what is not learned."""
    values: tuple[str, ...] = ()
    """What the message must tell, such as names and numbers."""
    n_facts: int = 0
    """How many facts had been stated before."""


@dataclass(frozen=True)
class Dialogue:
    """Messages with the tools that the model may call."""

    messages: tuple[Message, ...]
    tools: tuple[Json, ...] = ()
    think: bool = False
    kind: str = field(default="", compare=False)

    def chat(self, n_messages: int | None = None) -> list[dict[str, str]]:
        """Return the first messages as a chat template takes them."""
        return [{"role": m.role, "content": m.content} for m in self.messages[:n_messages]]


@dataclass(frozen=True)
class Piece:
    """A stretch of rendered text; `message` is set where the model speaks."""

    text: str
    message: Message | None = None


def render(dialogue: Dialogue) -> list[Piece]:
    """Return the text of a dialogue in pieces, the learned ones with their message."""
    messages = list(dialogue.messages)
    if messages[0].role == "system":
        system = messages.pop(0).content
    else:
        system = DEFAULT_SYSTEM if dialogue.tools or dialogue.think else ""
    if dialogue.think:
        system += f"\n\n{THINK_LINE}"
    if dialogue.tools:
        system += "\n\n# Tools" + "".join(
            f"\n{json.dumps(tool, ensure_ascii=False)}" for tool in dialogue.tools
        )
    pieces = [Piece(f"<|im_start|>system\n{system}<|im_end|>\n")] if system else []
    for message in messages:
        pieces.append(Piece(f"<|im_start|>{message.role}\n"))
        learned = message if message.skill and message.role == "assistant" else None
        pieces.append(Piece(f"{message.content}<|im_end|>", learned))
        pieces.append(Piece("\n"))
    return pieces


def tool_call(name: str, arguments: Json) -> str:
    """Return the text of a tool call."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"
