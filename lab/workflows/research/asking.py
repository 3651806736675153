"""Ask the model of a task, within what time is left."""

import asyncio
from collections.abc import Callable, Sequence

from lab.errors import InputError
from lab.pipelines import run_pipeline
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.response_format import ResponseFormat
from lab.schemas.role import Role
from lab.workflows.research.context import ResearchContext
from lab.workflows.window import context_length_of

Write = Callable[[ChatPipeline], Sequence[ChatMessage]]
"""Writes the prompt for a model; nothing where it does not fit."""


async def ask(
    context: ResearchContext,
    write: Write,
    *,
    max_new_tokens: int,
    response_format: ResponseFormat | None = None,
) -> ChatResult | None:
    """
    Return a model's answer; None where there is no time for it, or it refuses the request.

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
                return None
            return await run_pipeline(chat, messages, parameters, owner=owner_id)
    except (TimeoutError, InputError):
        return None


def fits(chat: ChatPipeline, messages: Sequence[ChatMessage], n_answer: int) -> bool:
    """Return whether a prompt leaves room for an answer of so many tokens."""
    return chat.count_tokens(messages) + n_answer <= context_length_of(chat)


def prompt(system: str, said: str) -> list[ChatMessage]:
    """Return a prompt of an instruction and what it is about."""
    return [
        ChatMessage(role=Role.system, content=system),
        ChatMessage(role=Role.user, content=said),
    ]
