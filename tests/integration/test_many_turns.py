"""
Many turns with tools at once, whose clients lose their connections at random.

`LAB_TEST_TURNS` says how many (200 to judge the lab by).
"""

import asyncio
import json
import os
from typing import Any
from uuid import UUID

import httpx
import pytest

from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.training.tools import sum_request
from lab.training.values import World
from tests.api_server import Api
from tests.streams import read, read_with_drops, text_of

pytestmark = pytest.mark.integration

N_TURNS = int(os.environ.get("LAB_TEST_TURNS", "32"))
N_CHATS = N_TURNS // 2
"""Of two turns each, which are asked at the same time."""
MOST_EVENTS = 8
"""After which a connection breaks at the latest."""


async def begin(client: httpx.AsyncClient, conversation: str, text: str, seed: int) -> UUID:
    """Ask for something, leave after the first event, and return the run."""
    turn: dict[str, Any] = {
        "conversation_id": conversation,
        "messages": [{"role": "user", "content": text}],
        "on_disconnect": "continue",
        "memory": False,
        "parameters": {"temperature": 0, "seed": seed, "max_new_tokens": 64},
        "settings": {"tools": {"enabled": ["calculator"]}},
    }
    async with client.stream("POST", "/v1/turns", json=turn) as response:
        assert response.status_code == 200, await response.aread()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                return UUID(json.loads(line.removeprefix("data: "))["run_id"])
    raise AssertionError("no event came")


def uses(events: list[Event]) -> list[tuple[str, str]]:
    """Return the tools that were started and finished, each by its call."""
    return [
        (event.type.value, event.data.get("tool_call_id") or event.data["tool_call"]["id"])
        for event in events
        if event.type in (EventType.tool_started, EventType.tool_finished)
    ]


async def test_no_turn_is_lost_and_each_stream_is_whole_and_in_order(api: Api, ann: str) -> None:
    requests = [sum_request(World(seed, "eval")) for seed in range(N_TURNS)]
    limits = httpx.Limits(max_connections=N_TURNS)
    headers = {"Authorization": f"Bearer {ann}"}
    async with httpx.AsyncClient(
        base_url=api.url, headers=headers, timeout=300, trust_env=False, limits=limits
    ) as client:
        chats = [
            (await client.post("/v1/conversations", json={"title": f"Chat {i}"})).json()["id"]
            for i in range(N_CHATS)
        ]

        async def hold(place: int) -> list[Event]:
            text = requests[place][0]
            run_id = await begin(client, chats[place % N_CHATS], text, place)
            return await read_with_drops(client, run_id, place, MOST_EVENTS)

        streams = await asyncio.gather(*map(hold, range(N_TURNS)))
        again = [await read(client, events[0].run_id) for events in streams]
        messages = [(await client.get(f"/v1/conversations/{c}/messages")).json() for c in chats]

    for events, later in zip(streams, again, strict=True):
        assert [event.position for event in events] == list(range(len(events)))
        assert events[-1].type is EventType.run_completed
        assert later == events
        used = uses(events)
        assert used[::2] == [("tool_started", call) for _, call in used[::2]]
        assert [call for _, call in used[::2]] == [call for _, call in used[1::2]]
    assert all([m["position"] for m in said] == list(range(len(said))) for said in messages)
    for place, events in enumerate(streams):
        said = [m for m in messages[place % N_CHATS] if m["run_id"] == str(events[0].run_id)]
        roles = [m["role"] for m in said]
        n_uses = len(uses(events)) // 2
        assert roles == ["user", *["assistant", "tool"] * n_uses, "assistant"]
        assert said[0]["parts"][0]["text"] == requests[place][0]
        assert said[-1]["parts"][-1]["text"] == text_of(events[-_n_last(events) :])
    assert sum(bool(uses(events)) for events in streams) >= 0.9 * N_TURNS


def _n_last(events: list[Event]) -> int:
    """Return how many events there are since the last tool ended."""
    ends = [e.position for e in events if e.type is EventType.tool_finished]
    return len(events) - (ends[-1] + 1 if ends else 0)
