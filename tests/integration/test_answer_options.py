"""What an answer can be asked for, through the lab's own client."""

import json
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import pytest

from lab.client.address import Address
from lab.client.lab import Lab
from lab.db import Database
from lab.errors import InputError
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.guard import Guard
from lab.schemas.tool import Tool
from lab.schemas.user import User
from tests.api_server import Api

pytestmark = pytest.mark.integration

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["answer"],
    "additionalProperties": False,
}


STRICT = {"guards": {"repetition": 3}}


@pytest.fixture
async def lab(api: Api, ann: str) -> AsyncIterator[Lab]:
    address: Future[Address] = Future()
    address.set_result(Address(api.url, ann))
    async with Lab(address) as lab:
        yield lab


async def test_several_answers_with_their_probabilities(lab: Lab) -> None:
    """The conversation keeps the first."""
    conversation = await lab.conversations.create()
    asked: dict[str, Any] = {"temperature": 1, "seed": 4, "max_new_tokens": 12}

    answer = await lab.chat("Hello.", conversation=conversation.id, n=2, logprobs=True, **asked)
    alone = [await lab.chat("Hello.", **{**asked, "seed": seed}) for seed in (4, 5)]

    assert [answer.text, *(other.text for other in answer.alternatives)] == [
        one.text for one in alone
    ]
    assert "".join(token.token for token in answer.logprobs) == answer.text
    assert answer.alternatives[0].logprobs
    stored = await lab.conversations.messages(conversation.id)
    assert [message.parts[0].text for message in stored[1:]] == [answer.text]  # type: ignore[union-attr]
    assert (await lab.runs.get(answer.run_id)).parameters["n"] == 2


async def test_an_answer_has_the_form_that_was_asked_for(lab: Lab) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA}}

    answer = await lab.chat("What is 6 x 7?", response_format=form, max_new_tokens=100)

    assert answer.finish_reason is FinishReason.stop
    assert 0 <= json.loads(answer.text)["answer"] <= 99


async def test_a_tool_that_must_be_called_is(lab: Lab) -> None:
    tool = Tool(name="tell", parameters=SCHEMA)

    answer = await lab.chat(
        "What is 6 x 7?", tools=[tool], tool_choice={"mode": "required"}, max_new_tokens=100
    )

    [call] = answer.tool_calls
    assert (call.name, answer.text) == ("tell", "")
    assert 0 <= call.arguments["answer"] <= 99
    assert answer.finish_reason is FinishReason.tool_calls


async def test_a_schema_that_nothing_satisfies_leaves_nothing(
    lab: Lab, api: Api, database: Database, owner: User
) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "it", "schema": {"enum": []}}}

    with pytest.raises(InputError, match="No answer can be held to this schema"):
        await lab.chat("Hello.", response_format=form)

    await api.until_idle()
    assert (await lab.chat("Hello.", max_new_tokens=3)).text


async def test_a_guard_is_named_in_the_answer_and_in_the_run(lab: Lab, database: Database) -> None:
    """The user's settings say when it stops; a turn may ask for others."""
    looping: dict[str, Any] = {"logit_bias": {"300": 100}, "max_new_tokens": 400}

    stopped = await lab.chat("Hello.", **looping)
    await lab.config.set("guards.repetition", 0)
    await lab.config.set("guards.stutter", 0)
    free = await lab.chat("Hello.", **looping)
    asked = await lab.chat("Hello.", **looping, settings={"guards": {"repetition": 3}})

    assert stopped.finish_reason is FinishReason.content_filter
    assert stopped.guard in {Guard.repetition, Guard.stutter}
    assert (free.guard, free.finish_reason) == (None, FinishReason.length)
    assert asked.guard is Guard.repetition
    run = await lab.runs.get(stopped.run_id)
    assert run.parameters["guards"]["repetition"] == 6
    ends = [event async for event in lab.stream("Hello.", **looping, settings=STRICT)][-1]
    assert (ends.type, ends.data["guard"]) == (EventType.run_completed, "repetition")


async def test_what_lab_tiny_says_is_not_stopped(lab: Lab) -> None:
    questions = ["Hello.", "Who are you?", "My name is Ann.", "Tell me about the lab.", "12 + 30?"]

    for seed, question in enumerate(questions):
        for temperature in (0, 1):
            answer = await lab.chat(question, temperature=temperature, seed=seed)

            assert answer.guard is None
