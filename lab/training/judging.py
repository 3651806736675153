"""Judging answers: what an answer of each skill must have kept, and how sure a rate is."""

import json
import re
from dataclasses import dataclass
from math import sqrt
from typing import Any

from lab.training.dialogue import Message

LISTS = frozenset({"summary", "listing"})
"""Skills whose answers are one fact a line."""
CALL_START, CALL_END = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class Rate:
    """How often something went right."""

    skill: str
    n_right: int
    n: int

    @property
    def rate(self) -> float:
        """Part that went right."""
        return self.n_right / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        z, n, p = 1.96, self.n, self.rate
        middle, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, (middle - half) / (1 + z * z / n)), min(
            1.0, (middle + half) / (1 + z * z / n)
        )


def judge(message: Message, answer: str) -> tuple[int, int]:
    """Return how many things an answer got right, and of how many.

    Parameters
    ----------
    message : Message
        What had to be said.
    answer : str
        What the model said.

    Returns
    -------
    tuple of int
        A summary counts each fact, and each line beyond the facts as a miss; all else counts once.
    """
    answer = answer.split("</think>\n\n")[-1].strip()
    if message.skill in LISTS:
        n_lines = len([line for line in answer.splitlines() if line.strip()])
        kept, n = facts_kept(message, answer)
        return (kept, max(n, n_lines)) if n else (int(answer == message.content), 1)
    if message.skill == "tool_call":
        return int(parse_call(answer) == parse_call(message.content.split("</think>\n\n")[-1])), 1
    if message.skill == "json":
        return int(_parse(answer) == json.loads(message.content)), 1
    if message.skill == "unknown":
        return int(answer.startswith("I don't know")), 1
    if message.skill in {"intent", "small_talk"}:
        return int(answer == message.content.split("</think>\n\n")[-1]), 1
    return int(all(_has(answer, value) for value in message.values)), 1


def facts_kept(message: Message, answer: str) -> tuple[int, int]:
    """Return how many facts an answer holds, and of how many; lines too many do not count."""
    return sum(_has(answer, value) for value in message.values), len(message.values)


def parse_call(text: str) -> Any:
    """Return the tool call that a text is, or `None` when it is not well formed."""
    if not (text.startswith(CALL_START) and text.endswith(CALL_END)):
        return None
    return _parse(text.removeprefix(CALL_START).removesuffix(CALL_END))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _has(answer: str, value: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", answer, re.IGNORECASE) is not None
