"""Ask the model of a task, within what time is left."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lab.errors import InputError
from lab.pipelines import run_pipeline
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.response_format import ResponseFormat
from lab.schemas.role import Role
from lab.schemas.usage import Usage
from lab.workflows.research.context import ResearchContext
from lab.workflows.window import context_length_of

Write = Callable[[ChatPipeline], Sequence[ChatMessage]]
"""Writes the prompt for a model; nothing where it does not fit."""


@dataclass(frozen=True)
class Asked:
    """
    What came of asking a model.

    Attributes
    ----------
    answer : ChatResult or None
        What it answered.
    why_not : str or None
        Why it did not.
    """

    answer: ChatResult | None = None
    why_not: str | None = None

    @property
    def spent(self) -> list[Usage]:
        """What it cost."""
        return [self.answer.usage] if self.answer else []


async def ask(
    context: ResearchContext,
    write: Write,
    *,
    max_new_tokens: int,
    response_format: ResponseFormat | None = None,
) -> Asked:
    """
    Return a model's answer, or why there is none: no time or room for it, or it refuses.

    It is asked greedily and with the task's seed, so that it answers the same again; it has no
    tools, whatever it writes.
    """
    parameters = GenerationParameters(
        max_new_tokens=max_new_tokens,
        temperature=0,
        seed=context.task.seed,
        response_format=response_format,
    )
    owner_id = context.task.owner_id
    leased = context.pipelines.chat(context.profile.model, purpose="research", owner=owner_id)
    try:
        async with asyncio.timeout(context.left_s()), leased as chat:
            messages = write(chat)
            if not messages:
                return Asked(why_not="its window is too small")
            return Asked(await run_pipeline(chat, messages, parameters, owner=owner_id))
    except TimeoutError:
        return Asked(why_not="time was up")
    except InputError as error:
        return Asked(why_not=f"it refused: {error}")


def fits(chat: ChatPipeline, messages: Sequence[ChatMessage], n_answer: int) -> bool:
    """Return whether a prompt leaves room for an answer of so many tokens."""
    return chat.count_tokens(messages) + n_answer <= context_length_of(chat)


def prompt(system: str, said: str) -> list[ChatMessage]:
    """Return a prompt of an instruction and what it is about."""
    return [
        ChatMessage(role=Role.system, content=system),
        ChatMessage(role=Role.user, content=said),
    ]
