"""Streams: same text as without, a client that leaves frees its place, errors on the way."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.api_server import Api, hello

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"


def chunks_of(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_a_stream_is_openais(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        whole = (await client.post(CHAT, json=hello())).json()
        response = await client.post(CHAT, json=hello(stream=True))

    chunks = chunks_of(response.text)
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"][0]["finish_reason"] in {"stop", "length"}
    assert chunks[-1]["lab"]["seed"] == 1


async def until_active(api: Api) -> None:
    async with asyncio.timeout(20):
        while not api.load().active_streams:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_place(
    endless_api: Api, ann: str, stream: bool
) -> None:
    body = hello(model="default", max_tokens=8000, stream=stream)
    async with endless_api.client(ann) as client:
        asking = asyncio.create_task(client.post(CHAT, json=body))
        await until_active(endless_api)
        asking.cancel()
        await asyncio.wait([asking])

    await endless_api.until_idle()


async def test_a_turn_tells_its_events(api: Api, ann: str) -> None:
    turn = {
        "profile": "lab-tiny",
        "messages": [{"role": "user", "content": "Hello."}],
        "parameters": {"max_new_tokens": 8, "seed": 1},
    }
    async with api.client(ann) as client:
        response = await client.post("/v1/turns", json=turn)

    lines = response.text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    types = [event["type"] for event in events]
    assert (types[0], types[-1]) == ("run_started", "run_completed")
    assert "receipt" in types
    assert [line for line in lines if line.startswith("id: ")] == [
        f"id: {n}" for n in range(len(events))
    ]


async def test_many_streams_at_once_all_end(api: Api, ann: str) -> None:
    async def ask(client: httpx.AsyncClient, seed: int) -> int:
        response = await client.post(CHAT, json=hello(stream=True) | {"seed": seed})
        return len(chunks_of(response.text))

    async with api.client(ann) as client:
        counts = await asyncio.gather(*(ask(client, seed) for seed in range(8)))

    assert all(count > 1 for count in counts)
