"""Tell what a message wants."""

import json
from math import exp
from typing import Final
from uuid import UUID

from lab.pipelines import run_pipeline
from lab.prompts import INTENT_INSTRUCTION, INTENT_SYSTEM, INTENTS
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.intent import Intent
from lab.schemas.role import Role
from lab.workflows.asking import object_of, response_format
from lab.workflows.window import context_length_of

MOST_INTENT_TOKENS: Final = 24
NAMED: Final = object_of(intent={"type": "string", "enum": list(INTENTS)})
"""What a model answers that follows instructions."""


async def tell_intent(
    chat: ChatPipeline, text: str, owner: UUID | None = None
) -> tuple[Intent | None, float | None, ChatResult | None]:
    """
    Return what a message wants, how sure the model is, and its answer.

    The intent is None where the model names none of them, the confidence where it tells no
    probabilities, and all are where the message does not fit its window.
    """
    is_demo = chat.model.is_demo
    messages = [
        ChatMessage(role=Role.system, content=INTENT_SYSTEM if is_demo else INTENT_INSTRUCTION),
        ChatMessage(role=Role.user, content=text),
    ]
    if chat.count_tokens(messages) + MOST_INTENT_TOKENS > context_length_of(chat):
        return None, None, None
    parameters = GenerationParameters(
        max_new_tokens=MOST_INTENT_TOKENS,
        seed=0,
        logprobs=is_demo,
        # The one made to demonstrate says the bare word; held to JSON it says any.
        response_format=None if is_demo else response_format(NAMED),
    )
    answer = await run_pipeline(chat, messages, parameters, owner=owner)
    word = _word(answer.content)
    if word not in INTENTS:
        return None, None, answer
    return Intent(word), _confidence(answer), answer


def _word(content: str) -> str:
    """
    Return the intent that an answer names, as JSON or bare.

    >>> _word('{"intent": "planning"}'), _word('"chat"'), _word("analysis.")
    ('planning', 'chat', 'analysis')
    """
    try:
        value = json.loads(content)
    except ValueError:
        value = content.strip(" .\n\"'`")
    named = value.get("intent") if isinstance(value, dict) else value
    return str(named)


def _confidence(answer: ChatResult) -> float | None:
    """Return the probability of the word that was written, without the quotes around it."""
    told = [token for token in answer.logprobs if token.token.strip(' "\n')]
    return min(1.0, exp(sum(token.logprob for token in told))) if told else None
