"""Ask a model for the facts in what was said."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lab.db.facts import Statement
from lab.messages import transcript
from lab.prompts import FACTS_INSTRUCTION, KNOWN_INSTRUCTION
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory import Memory
from lab.schemas.usage import Usage
from lab.workflows.statements import in_answer, in_sentences
from lab.workflows.summary import answered

MOST_KNOWN: Final = 20
"""Things known already that a model is told of, so that it names them alike."""


@dataclass(frozen=True)
class Extracted:
    """
    The facts of some messages.

    Attributes
    ----------
    statements : sequence of Statement
        In the order in which they were told.
    usage : sequence of Usage
        What each answer of the model cost that it took.
    """

    statements: Sequence[Statement]
    usage: Sequence[Usage] = ()


async def extract(
    chat: ChatPipeline, memories: Sequence[Memory], summary: str, known: Sequence[str]
) -> Extracted:
    """
    Return the facts that messages tell.

    Parameters
    ----------
    chat : ChatPipeline
        Who reads them. A model made to demonstrate wrote them down as the summary already.
    memories : sequence of Memory
        The messages, the earliest first.
    summary : str
        What the model wrote of them.
    known : sequence of str
        What facts that may be of the same are about.
    """
    if chat.model.is_demo:
        return Extracted(in_sentences(summary))
    names = "\n".join(f"- {about}" for about in known)
    instruction = FACTS_INSTRUCTION + (KNOWN_INSTRUCTION + names if known else "")
    written = await answered(chat, instruction, [_dated(memory) for memory in memories])
    return Extracted(in_answer(written.text), written.usage)


def _dated(memory: Memory) -> str:
    message = ChatMessage(role=memory.role, name=memory.name, content=memory.text)
    return f"{memory.created_at:%Y-%m-%d} {transcript([message])}"
