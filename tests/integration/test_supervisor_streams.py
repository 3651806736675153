"""`kill -9` of each process while an answer streams."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
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
LONG = 2000
"""Tokens of an answer that is still under way when its first word has arrived."""
ENDS_WITHIN_S = 60.0


@pytest.fixture
async def lab(endless: RunningStack) -> AsyncIterator[Lab]:
    """Return the client of the administrator, through the proxy."""
    async with endless.visitor(endless.admin, endless.password) as admin:
        token = await admin.token()
    async with connect(f"{endless.url}/services/api", token) as lab:
        yield lab


async def ask_and_kill(
    lab: Lab, conversation: UUID, killed: int
) -> tuple[list[Event], LabError | None]:
    """Kill a process at the first word of an answer; return what came, and how it failed."""
    events: list[Event] = []
    answer = lab.stream(QUESTION, conversation=conversation, max_new_tokens=LONG)
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
    endless: RunningStack, lab: Lab, name: str, failures: tuple[type, ...]
) -> None:
    conversation = await lab.conversations.create()
    killed = endless.process(name).pid
    assert killed is not None

    events, error = await ask_and_kill(lab, conversation.id, killed)
    await until_healed(endless, name, killed)
    kept = await lab.conversations.messages(conversation.id)
    again = await lab.chat("Hello.", conversation=conversation.id, max_new_tokens=8)

    assert isinstance(error, failures), error
    assert "Traceback" not in str(error)
    assert error or events[-1].type is EventType.run_completed
    assert text_of(kept[0].parts) == QUESTION
    assert again.usage.completion_tokens
