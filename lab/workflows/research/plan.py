"""
Plan research: the questions that are searched for.

A model proposes them; what is kept of its proposal is checked here. The question itself is always
the first, so that a useless plan costs nothing but the asking.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from lab.db import Stores
from lab.prompts import RESEARCH_PLAN_INSTRUCTION
from lab.protocols import ChatPipeline, FloatArray
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind as Kind
from lab.schemas.response_format import ResponseFormat
from lab.schemas.response_kind import ResponseKind
from lab.workflows.research.asking import Asked, ask, fits, prompt
from lab.workflows.research.context import ResearchContext
from lab.workflows.research.draft import PLANNED, Planned, written
from lab.workflows.research.steps import Done, once

MOST_TOKENS: Final = 192
"""Of a plan."""
SHORTEST: Final = 8
LONGEST: Final = 200
"""Characters of a question of a plan."""
LONGEST_SEARCH: Final = 500
"""Characters of a question that are searched for; the beginning says what it is about."""
NEAR: Final = 0.5
"""Least cosine of a planned question to the one that was asked."""
SAME: Final = 0.97
"""Cosine from which two questions are one."""
PER_QUESTION: Final = (Kind.search, Kind.gather, Kind.analyse)
"""The steps that each question has."""
LAST: Final = (Kind.synthesise, Kind.verify)

_ASKED = re.compile(r"[^.!?\n]+\?")


async def plan(context: ResearchContext) -> list[str]:
    """Return the questions of a task."""

    async def work(step: ResearchStep) -> Done:
        asked = await _proposed(context)
        questions = await _chosen(context, asked.answer)

        async def store(stores: Stores) -> None:
            for kind in PER_QUESTION:
                for question in questions:
                    await stores.research_steps.add(step.task_id, kind, question)
            for kind in LAST:
                await stores.research_steps.add(step.task_id, kind, step.question)

        planned = Planned(questions, asked.why_not)
        return Done(written(PLANNED, planned), asked.spent, store)

    return PLANNED.validate_json(await once(context, Kind.plan, 0, work)).questions


async def _proposed(context: ResearchContext) -> Asked:
    """Return what the model proposes, if it may and can."""
    most = context.research.max_questions - 1
    if most < 1:
        return Asked()

    def write(chat: ChatPipeline) -> Sequence[ChatMessage]:
        asked = prompt(RESEARCH_PLAN_INSTRUCTION.format(most=most), context.task.question)
        return asked if fits(chat, asked, MOST_TOKENS) else []

    form = {"name": "plan", "schema": _schema(most), "strict": False}
    return await ask(
        context,
        write,
        max_new_tokens=MOST_TOKENS,
        response_format=ResponseFormat(type=ResponseKind.json_schema, json_schema=form),
    )


def _schema(most: int) -> dict[str, Any]:
    question = {"type": "string", "minLength": SHORTEST, "maxLength": LONGEST}
    questions = {"type": "array", "items": question, "minItems": 1, "maxItems": most}
    return {
        "type": "object",
        "properties": {"questions": questions},
        "required": ["questions"],
        "additionalProperties": False,
    }


async def _chosen(context: ResearchContext, answer: ChatResult | None) -> list[str]:
    """Return the question, those that stand in it, and those proposed that bear on it."""
    asked = " ".join(context.task.question.split())
    parts = [part.strip() for part in _ASKED.findall(asked)]
    inside = parts if len(parts) > 1 else []
    proposed = proposed_in(answer.content) if answer else []
    candidates = list(dict.fromkeys([asked, *inside, *proposed]))
    vectors = await context.embedding.embed([one[:LONGEST_SEARCH] for one in candidates])
    kept = distinct(vectors, n_sure=1 + len(inside))
    most = context.research.max_questions
    return [candidates[place][:LONGEST_SEARCH] for place in kept[:most]]


def proposed_in(content: str) -> list[str]:
    """
    Return the questions that a model wrote, as far as they are any.

    >>> proposed_in('{"questions": ["How tall is  it?", "?", 3]}'), proposed_in("Well, ")
    (['How tall is it?'], [])
    """
    try:
        found = json.loads(content)["questions"]
    except (ValueError, KeyError, TypeError):
        return []
    texts = [" ".join(one.split()) for one in found if isinstance(one, str)]
    return [text for text in texts if SHORTEST <= len(text) <= LONGEST]


def distinct(vectors: FloatArray, n_sure: int) -> list[int]:
    """
    Return the places of questions that bear on the first, none twice.

    Parameters
    ----------
    vectors : array of shape (N, D)
        Of the questions.
    n_sure : int
        How many, from the first on, bear on it whatever their vectors say.
    """
    similarity = np.round(vectors @ vectors.T, 4)
    kept: list[int] = []
    for place in range(len(vectors)):
        bears = place < n_sure or similarity[place, 0] >= NEAR
        if bears and all(similarity[place, other] < SAME for other in kept):
            kept.append(place)
    return kept
