"""`kill -9` of each process while an answer streams."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import pytest

from lab.client import Lab, connect
from lab.client.answer import raise_failure
from lab.errors import DatabaseError, LabError, ServiceError
from lab.messages import text_of
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from tests.integration.test_supervisor_heals import until_healed
from tests.stack import RunningStack

pytestmark = pytest.mark.integration

QUESTION = "My dog is Zamiko. Tell me a long story about him."
HOT: dict[str, Any] = {"temperature": 2.0, "max_new_tokens": 900, "memory": False}
LONG = 300
"""Tokens of an answer that is still under way when its first word has arrived."""
ENDS_WITHIN_S = 60.0


@pytest.fixture
async def lab(stack: RunningStack) -> AsyncIterator[Lab]:
    """Return the client of the administrator, through the proxy."""
    async with stack.visitor(stack.admin, stack.password) as admin:
        token = await admin.token()
    async with connect(f"{stack.url}/services/api", token) as lab:
        yield lab


async def seed_of_a_long_answer(lab: Lab) -> int:
    """Return a seed with which the model, whatever it learnt, talks for long."""
    for seed in range(64):
        answer = await lab.chat(QUESTION, model="lab-tiny", seed=seed, **HOT)
        if answer.usage.completion_tokens >= LONG:
            return seed
    raise AssertionError(f"no answer of {LONG} tokens with 64 seeds")


async def ask_and_kill(
    lab: Lab, conversation: UUID, seed: int, killed: int
) -> tuple[list[Event], LabError | None]:
    """Kill a process at the first word of an answer; return what came, and how it failed."""
    events: list[Event] = []
    answer = lab.stream(QUESTION, model="lab-tiny", conversation=conversation, seed=seed, **HOT)
    try:
        async with asyncio.timeout(ENDS_WITHIN_S), aclosing(answer):
            async for event in answer:
                said = [e.type for e in events]
                if event.type is EventType.content and EventType.content not in said:
                    os.kill(killed, signal.SIGKILL)
                events.append(raise_failure(event))
    except LabError as error:
        return events, error
    return events, None


@pytest.mark.parametrize(
    ("name", "failures"),
    [
        ("postgres", (DatabaseError, type(None))),
        ("api", (ServiceError,)),
        ("dashboards", (type(None),)),
        ("proxy", (ServiceError,)),
        ("hub", (type(None),)),
        ("scheduler", (type(None),)),
    ],
)
async def test_a_process_killed_during_an_answer(
    stack: RunningStack, lab: Lab, name: str, failures: tuple[type, ...]
) -> None:
    seed = await seed_of_a_long_answer(lab)
    conversation = await lab.conversations.create()
    killed = stack.process(name).pid
    assert killed is not None

    events, error = await ask_and_kill(lab, conversation.id, seed, killed)
    await until_healed(stack, name, killed)
    kept = await lab.conversations.messages(conversation.id)
    again = await lab.chat(
        "Hello.", model="lab-tiny", conversation=conversation.id, max_new_tokens=8
    )

    assert isinstance(error, failures), error
    assert "Traceback" not in str(error)
    assert error or events[-1].type is EventType.run_completed
    assert text_of(kept[0].parts) == QUESTION
    assert again.usage.completion_tokens
