"""The unmodified `openai` client for Python."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

import openai
import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessageParam,
    ChatCompletionUserMessageParam,
)

from pydantic import BaseModel, Field

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


class Visit(BaseModel):
    """A form of an answer, as people write it for the client."""

    city: Literal["Paris", "Oslo"]
    nights: Annotated[int, Field(ge=0, le=99)]
    friends: Annotated[list[Literal["Ann", "Bo"]], Field(max_length=2)]


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


async def test_several_answers_come_whole_and_streamed(client: AsyncOpenAI) -> None:
    warm = {**QUESTION, "temperature": 1.0, "n": 3}
    whole = await client.chat.completions.create(**warm)
    stream = await client.chat.completions.create(
        **warm, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    texts = ["", "", ""]
    reasons: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            reasons[choice.index] = choice.finish_reason
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == {choice.index: choice.finish_reason for choice in whole.choices}
    one = await client.chat.completions.create(**{**warm, "n": 1})
    assert one.choices[0].message.content == texts[0]
    assert one.usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage is not None
    assert whole.usage.prompt_tokens == one.usage.prompt_tokens
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


async def test_probabilities_of_tokens_come_whole_and_streamed(client: AsyncOpenAI) -> None:
    asked = {**QUESTION, "logprobs": True, "top_logprobs": 2}
    whole = (await client.chat.completions.create(**asked)).choices[0]
    stream = await client.chat.completions.create(**asked, stream=True)
    streamed = [
        token
        async for chunk in stream
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content or []
    ]

    assert whole.logprobs is not None
    tokens = whole.logprobs.content or []
    assert "".join(token.token for token in tokens) == whole.message.content
    assert [token.token for token in streamed] == [token.token for token in tokens]
    # Greedy: the token that was written is the likeliest.
    assert all(token.top_logprobs[0].logprob == token.logprob for token in tokens)
    assert all(len(token.top_logprobs) == 2 for token in tokens)


async def test_penalties_and_bias_change_the_answer(client: AsyncOpenAI) -> None:
    async def text(**options: Any) -> str:
        answer = await client.chat.completions.create(**{**QUESTION, **options})
        return answer.choices[0].message.content or ""

    plain = await text()

    assert await text(logit_bias={"300": 100}, max_tokens=3) != plain
    hot = {"temperature": 2, "max_tokens": 40}
    assert await text(**hot, frequency_penalty=2) != await text(**hot, frequency_penalty=-2)
    assert await text(extra_body={"min_p": 1.0}, temperature=1.5) == plain
    assert await text(extra_body={"repetition_penalty": 5.0}) != plain


async def test_an_answer_is_parsed_into_the_form_it_was_asked_for(client: AsyncOpenAI) -> None:
    for seed in range(4):
        answer = await client.chat.completions.parse(
            **{**QUESTION, "max_tokens": 300, "temperature": 1, "seed": seed},
            response_format=Visit,
        )

        assert isinstance(answer.choices[0].message.parsed, Visit)
        assert answer.choices[0].finish_reason == "stop"


async def test_an_answer_that_is_cut_is_no_parsed_one(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.LengthFinishReasonError):
        await client.chat.completions.parse(**{**QUESTION, "max_tokens": 3}, response_format=Visit)


async def test_a_streamed_form_is_the_same(client: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {**QUESTION, "max_tokens": 300, "response_format": {"type": "json_object"}}
    whole = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(**asked, stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    assert text == whole.choices[0].message.content
    assert whole.choices[0].finish_reason != "stop" or isinstance(json.loads(text), dict)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "book"}}])
async def test_a_tool_is_called_where_it_must_be(client: AsyncOpenAI, choice: Any) -> None:
    parameters = Visit.model_json_schema()
    book: ChatCompletionFunctionToolParam = {
        "type": "function",
        "function": {"name": "book", "parameters": parameters},
    }

    answer = await client.chat.completions.create(
        **{**QUESTION, "max_tokens": 300, "temperature": 1}, tools=[CLOCK, book], tool_choice=choice
    )

    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert call.function.name in {"current_time", "book"}
    if choice != "required":
        assert call.function.name == "book"
    if call.function.name == "book":
        Draft202012Validator(parameters).validate(arguments)


async def test_an_answer_in_circles_is_stopped_by_a_guard_that_is_named(
    client: AsyncOpenAI,
) -> None:
    looping: dict[str, Any] = {**QUESTION, "max_tokens": 400, "logit_bias": {"300": 100}}
    whole = await client.chat.completions.create(**looping)
    stream = await client.chat.completions.create(**looping, stream=True)
    last = [chunk async for chunk in stream][-1]
    free = {"settings": {"guards": {"repetition": 0, "stutter": 0}}}
    unguarded = await client.chat.completions.create(**looping, extra_body=free)

    for choice in (whole.choices[0], last.choices[0]):
        assert choice.finish_reason == "content_filter"
        assert choice.model_dump()["guard"] in {"repetition", "stutter"}
    assert unguarded.choices[0].finish_reason == "length"
    assert "guard" not in unguarded.choices[0].model_dump()


async def test_json_in_circles_is_never_taken_for_whole(client: AsyncOpenAI) -> None:
    ones = {"type": "array", "items": {"const": 1}, "minItems": 500}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "ones", "schema": ones}}

    answer = await client.chat.completions.create(
        **{**QUESTION, "max_tokens": 900}, response_format=wanted
    )

    assert answer.choices[0].finish_reason == "content_filter"
    assert answer.choices[0].model_dump()["guard"] == "json_loop"


async def test_a_call_is_streamed_while_it_is_written(client: AsyncOpenAI) -> None:
    book: ChatCompletionFunctionToolParam = {
        "type": "function",
        "function": {"name": "book", "parameters": Visit.model_json_schema()},
    }
    asked: dict[str, Any] = {**QUESTION, "max_tokens": 300, "temperature": 1}
    asked |= {"tools": [book], "tool_choice": "required"}
    whole = await client.chat.completions.create(**asked)
    stream = await client.chat.completions.create(**asked, stream=True)
    chunks = [chunk async for chunk in stream]

    pieces = [c for chunk in chunks for c in chunk.choices[0].delta.tool_calls or []]
    heads = [piece for piece in pieces if piece.id]
    assert len(pieces) > 3
    assert [piece.function.name for piece in heads if piece.function] == ["book"]
    written = "".join(p.function.arguments or "" for p in pieces if p.function)
    [call] = whole.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(written) == json.loads(call.function.arguments)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
