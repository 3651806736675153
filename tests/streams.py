"""Read the stream of a run over HTTP, undisturbed or with connections that break."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import httpx

from lab.protocols import ENDS
from lab.schemas.event import Event
from lab.schemas.event_type import EventType


async def read(
    client: httpx.AsyncClient, run_id: UUID, after: int = -1, most: int | None = None
) -> list[Event]:
    """Return events of a run after a position; the connection is dropped after so many."""
    found: list[Event] = []
    headers = {"Last-Event-ID": str(after)} if after >= 0 else {}
    async with client.stream("GET", f"/v1/runs/{run_id}/stream", headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                found.append(Event.model_validate_json(line.removeprefix("data: ")))
            if most is not None and len(found) >= most:
                break
    return found


async def read_with_drops(
    client: httpx.AsyncClient, run_id: UUID, seed: int, most: int = 200
) -> list[Event]:
    """Return the events that a client gets whose connection breaks after 1 to `most` of them."""
    chance = random.Random(seed)
    found: list[Event] = []
    while not found or found[-1].type not in ENDS:
        after = found[-1].position if found else -1
        found += await read(client, run_id, after, most=chance.randint(1, most))
        await asyncio.sleep(chance.random() * 0.2)
    return found


def text_of(events: Sequence[Event]) -> str:
    """Return what the events say of the answer."""
    return "".join(event.data["text"] for event in events if event.type is EventType.content)
