"""The unmodified `openai` client for Python."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionUserMessageParam,
)

from tests.api_server import Api

pytestmark = pytest.mark.integration

QUESTION: dict[str, Any] = {
    "model": "lab-tiny",
    "messages": [{"role": "user", "content": "Hello."}],
    "max_tokens": 12,
    "seed": 7,
}
CLOCK: ChatCompletionFunctionToolParam = {
    "type": "function",
    "function": {
        "name": "current_time",
        "description": "Tell the time.",
        "parameters": {"type": "object", "properties": {}},
    },
}


@pytest.fixture
async def client(api: Api, ann: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{api.url}/v1", api_key=ann, max_retries=0) as client:
        yield client


async def test_it_lists_models(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]

    assert {"default", "lab-tiny", "all-MiniLM-L6-v2"} <= set(names)
    assert (await client.models.retrieve("lab-tiny")).owned_by == "lab"


async def test_the_same_seed_gives_the_same_text_streamed_or_not(client: AsyncOpenAI) -> None:
    warm = {**QUESTION, "temperature": 0.9}
    whole = await client.chat.completions.create(**warm)
    stream = await client.chat.completions.create(
        **warm, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


async def test_a_conversation_that_goes_on_is_not_run_again(client: AsyncOpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "My dog is called Zamiko."}]
    cached: list[int] = []
    n_tokens: list[int] = []
    for question in ("What is my dog called?", "Who are you?"):
        said = await client.chat.completions.create(
            model="lab-tiny", temperature=0, messages=messages
        )
        assert said.usage is not None
        assert said.usage.prompt_tokens_details is not None
        cached.append(said.usage.prompt_tokens_details.cached_tokens or 0)
        n_tokens.append(said.usage.total_tokens)
        messages.append({"role": "assistant", "content": said.choices[0].message.content})
        messages.append({"role": "user", "content": question})

    assert cached[1] >= n_tokens[0] - 2  # all but the end of the answer


async def test_a_stop_text_ends_the_answer(client: AsyncOpenAI) -> None:
    whole = (await client.chat.completions.create(**QUESTION)).choices[0].message.content or ""
    stop = whole[len(whole) // 2 :][:3]

    cut = await client.chat.completions.create(**QUESTION, stop=[stop])

    assert cut.choices[0].message.content == whole.split(stop)[0]
    assert cut.choices[0].finish_reason == "stop"


async def test_tools_pass_through_and_their_results_come_back(client: AsyncOpenAI) -> None:
    asked: ChatCompletionUserMessageParam = {"role": "user", "content": "What time is it?"}
    history: list[ChatCompletionMessageParam] = [
        asked,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "current_time", "arguments": "{}"},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "09:30"},
    ]

    first = await client.chat.completions.create(
        model="lab-tiny", messages=[asked], tools=[CLOCK], seed=1, max_tokens=40
    )
    after = await client.chat.completions.create(
        model="lab-tiny", messages=history, tools=[CLOCK], seed=1, max_tokens=40
    )

    assert first.choices[0].finish_reason in {"tool_calls", "stop", "length"}
    for call in first.choices[0].message.tool_calls or []:
        assert call.type == "function"
    assert after.choices[0].message.role == "assistant"


async def test_vectors_are_of_the_models_own_length(client: AsyncOpenAI) -> None:
    found = await client.embeddings.create(model="all-MiniLM-L6-v2", input=["A cat.", "A dog."])
    numbers = await client.embeddings.create(
        model="all-MiniLM-L6-v2", input="A cat.", encoding_format="float"
    )

    assert [len(row.embedding) for row in found.data] == [384, 384]
    assert found.data[0].embedding == pytest.approx(numbers.data[0].embedding, abs=1e-5)
    assert sum(x * x for x in found.data[0].embedding) == pytest.approx(1, abs=1e-4)
    assert found.usage.prompt_tokens > 0


async def test_a_stored_conversation_goes_on(client: AsyncOpenAI, api: Api, ann: str) -> None:
    async with api.client(ann) as http:
        conversation = (await http.post("/v1/conversations", json={})).json()["id"]
        answer = await client.chat.completions.create(
            **QUESTION, extra_body={"conversation_id": conversation}
        )
        stored = (await http.get(f"/v1/conversations/{conversation}/messages")).json()

    assert [message["role"] for message in stored] == ["user", "assistant"]
    assert answer.model_dump()["lab"]["conversation_id"] == conversation


async def test_errors_come_as_the_clients_own(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Did you mean `lab-tiny`"):
        await client.chat.completions.create(**{**QUESTION, "model": "lab-tinny"})
    with pytest.raises(openai.BadRequestError, match="tokens and the window holds"):
        await client.chat.completions.create(
            model="lab-tiny", messages=[{"role": "user", "content": "word " * 3000}], stream=True
        )
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="sk-foreign").models.list()
