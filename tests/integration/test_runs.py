"""Runs that outlive their connections: followed from anywhere, nothing lost, doubled or moved."""

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from lab.client import connect
from lab.db import Database
from lab.errors import ConflictError
from lab.runtime import Runtime
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.role import Role
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from tests.api_server import Api, hello
from tests.integration.conftest import execute
from tests.streams import read, read_with_drops, text_of
from tests.tiny_llama import UNGUARDED, save_tiny_llama

pytestmark = pytest.mark.integration

N_CLIENTS = 12
LONG: dict[str, Any] = {"max_new_tokens": 300, "temperature": 2.0, "seed": 5}


def turn(text: str = "Talk.", **options: Any) -> dict[str, Any]:
    """Return a turn that goes on by itself."""
    asked = {"role": "user", "content": text}
    return {"messages": [asked], "on_disconnect": "continue", "parameters": LONG, **options}


async def begin(client: httpx.AsyncClient, **options: Any) -> UUID:
    """Begin a turn that goes on, leave it after the first event, and return its run."""
    async with client.stream("POST", "/v1/turns", json=turn(**options)) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                return UUID(json.loads(line.removeprefix("data: "))["run_id"])
    raise AssertionError("no event came")


def told_of(events: Sequence[Event]) -> list[str]:
    """Return the types of events before the last, those that follow each other once."""
    types = [event.type.value for event in events[:-1]]
    return [type_ for i, type_ in enumerate(types) if types[i - 1 : i] != [type_]]


async def test_clients_that_drop_at_random_get_what_an_undisturbed_one_gets(
    endless_api: Api, ann: str, database: Database, owner: User, database_url: str
) -> None:
    async with database.stores(owner.id) as stores:
        conversation = (await stores.conversations.create("Named")).id
    async with endless_api.client(ann) as client:
        run_id = await begin(
            client, conversation_id=str(conversation), parameters={"max_new_tokens": 800}
        )
        undisturbed, *others = await asyncio.gather(
            read(client, run_id), *(read_with_drops(client, run_id, i) for i in range(N_CLIENTS))
        )
        afterwards = await read(client, run_id)
        disturbed_afterwards = await read_with_drops(client, run_id, N_CLIENTS)
        listed = (await client.get(f"/v1/runs/{run_id}/events")).json()
        run = (await client.get(f"/v1/runs/{run_id}")).json()
        messages = (await client.get(f"/v1/conversations/{conversation}/messages")).json()

    assert [event.position for event in undisturbed] == list(range(len(undisturbed)))
    assert undisturbed[-1].type is EventType.run_completed
    assert all(events == undisturbed for events in others)
    assert afterwards == disturbed_afterwards == undisturbed
    assert [Event.model_validate(event) for event in listed] == undisturbed
    assert run["status"] == "completed"
    assert messages[-1]["parts"] == [{"type": "text", "text": text_of(undisturbed)}]
    ((n_rows,),) = await execute(database_url, "SELECT count(*) FROM events")
    assert 5 < n_rows < len(undisturbed) / 10


async def test_a_run_goes_on_without_its_client_until_it_is_cancelled(
    endless_api: Api, ann: str, bob: str
) -> None:
    long = {"max_new_tokens": 8000}
    async with endless_api.client(ann) as client, endless_api.client(bob) as other:
        run_id = await begin(client, parameters=long)
        following = asyncio.create_task(read(client, run_id))
        (running,) = (await client.get("/v1/runs")).json()
        refused = (await other.post(f"/v1/runs/{run_id}/cancel")).status_code
        cancelled = (await client.post(f"/v1/runs/{run_id}/cancel")).json()
        again = (await client.post(f"/v1/runs/{run_id}/cancel")).json()
        followed = await following
        stored = await read(client, run_id)
    await endless_api.until_idle()

    assert (running["status"], refused) == ("running", 404)
    assert cancelled["status"] == again["status"] == "cancelled"
    assert followed[-1].type is EventType.run_cancelled
    assert stored == followed


async def test_a_client_that_leaves_before_an_answer_begins_leaves_nothing_running(
    endless_api: Api, ann: str
) -> None:
    async with endless_api.client(ann) as client:
        asking = asyncio.create_task(client.post("/v1/turns", json=turn("word " * 2000)))
        async with asyncio.timeout(20):
            while not endless_api.app.state.runtime.running._live:
                await asyncio.sleep(0.002)
        asking.cancel()
        await asyncio.wait([asking])
        await endless_api.until_idle()
        async with asyncio.timeout(5):
            while endless_api.app.state.runtime.running._live:
                await asyncio.sleep(0.01)
        statuses = {run["status"] for run in (await client.get("/v1/runs")).json()}

    assert statuses <= {"cancelled"}


async def test_a_run_that_ends_with_its_connection_is_cancelled_by_closing_it_alone(
    endless_api: Api, ann: str
) -> None:
    async with endless_api.client(ann) as client:
        body = hello(model="default", max_tokens=8000, stream=True)
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=body))
        async with asyncio.timeout(20):
            while not (runs := (await client.get("/v1/runs")).json()):
                await asyncio.sleep(0.02)
        refused = await client.post(f"/v1/runs/{runs[0]['id']}/cancel")
        asking.cancel()
        await asyncio.wait([asking])

    assert (refused.status_code, "close that" in refused.text) == (409, True)


async def test_what_is_refused_has_its_own_status(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        unknown = await client.post("/v1/turns", json=turn(profile="nobody"))
        long = await client.post("/v1/turns", json=turn("word " * 5000))

    assert (unknown.status_code, long.status_code) == (404, 400)


async def test_the_stream_of_a_stateless_request_holds_no_answer(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        answer = (await client.post("/v1/chat/completions", json=hello())).json()
        events = await read(client, UUID(answer["lab"]["run_id"]))

    assert {event.type for event in events} == {
        EventType.run_started,
        EventType.usage,
        EventType.run_completed,
    }


async def test_deleting_a_message_deletes_what_its_run_told(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        conversation = (await stores.conversations.create("Named")).id
    async with api.client(ann) as client:
        run_id = await begin(client, conversation_id=str(conversation))
        assert text_of(await read(client, run_id))
        path = f"/v1/conversations/{conversation}/messages"
        (_, answer) = (await client.get(path)).json()
        await client.delete(f"{path}/{answer['id']}")
        left = (await client.get(f"/v1/runs/{run_id}/events")).json()

    assert left == []


async def test_a_stream_that_cannot_go_on_says_why(
    api: Api, ann: str, database: Database, owner: User, database_url: str
) -> None:
    async with database.stores(owner.id) as stores:
        run = await stores.runs.create(RunKind.chat, None, {})
    path = f"/v1/runs/{run.id}/stream"
    async with api.client(ann) as client, client.stream("GET", path) as response:
        await execute(database_url, "DELETE FROM runs")
        sent = [line async for line in response.aiter_lines()]

    (told,) = [line.removeprefix("data: ") for line in sent if line]
    assert json.loads(told)["error"]["code"] == "not_found"


@asynccontextmanager
async def cutting_proxy(url: str, seed: int) -> AsyncIterator[str]:
    """Yield the address of a proxy that breaks connections after a random number of bytes."""
    chance, target = random.Random(seed), httpx.URL(url)

    async def pass_on(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int
    ) -> None:
        while most > 0 and (data := await reader.read(min(most, 512))):
            most -= len(data)
            writer.write(data)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(target.host, target.port)
        except BaseException:
            writer.transport.abort()
            raise
        ways = [
            asyncio.create_task(pass_on(reader, back, 1_000_000)),
            asyncio.create_task(pass_on(there, writer, chance.randint(8_000, 30_000))),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.close()
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"


async def test_the_client_connects_again_by_itself(api: Api, ann: str) -> None:
    async with cutting_proxy(api.url, seed=3) as url, connect(url, ann) as lab:
        events = [e async for e in lab.stream("Talk.", on_disconnect="continue", **LONG)]
        answer = await lab.chat("Talk.", on_disconnect="continue", **LONG)

    assert [event.position for event in events] == list(range(len(events)))
    assert events[-1].type is EventType.run_completed
    assert text_of(events) == answer.text


async def test_who_waits_for_an_answer_that_is_cancelled_is_told(
    endless_api: Api, ann: str
) -> None:
    async with connect(endless_api.url, ann) as lab:
        asking = asyncio.create_task(
            lab.chat("Talk.", on_disconnect="continue", max_new_tokens=8000)
        )
        async with asyncio.timeout(20):
            while not (found := await lab.runs.list()):
                await asyncio.sleep(0.02)
            while not endless_api.load().active_streams:
                await asyncio.sleep(0.02)
        await lab.runs.cancel(found[0].id)
        with pytest.raises(ConflictError, match="cancelled"):
            await asking


OTHER = """
import asyncio, json, sys
from lab.config import load_settings
from lab.runtime import open_runtime
from lab.schemas.chat_turn import ChatTurn

async def run(environ):
    async with open_runtime(load_settings(None, environ)) as runtime:
        async with runtime.database.accounts() as accounts:
            owner = await accounts.get("ann")
        while line := await asyncio.to_thread(sys.stdin.readline):
            live = await runtime.answering.begin(owner, ChatTurn.model_validate_json(line))
            print(live.log.run_id, flush=True)

asyncio.run(run(json.loads(sys.stdin.readline())))
"""
"""A lab that begins a run for each turn that it is sent."""


class OtherLab:
    """A lab in another process, on the same database."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begin(self, turn: dict[str, Any]) -> UUID:
        """Begin a run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(turn)}\n".encode())
        return UUID((await self._process.stdout.readline()).decode().strip())

    async def kill(self, _: UUID) -> None:
        """End it as a crash does."""
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def other_lab(environ: dict[str, str]) -> AsyncIterator[OtherLab]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OTHER, stdin=pipe, stdout=pipe, env=os.environ
    )
    assert process.stdin is not None
    try:
        process.stdin.write(f"{json.dumps(environ)}\n".encode())
        yield OtherLab(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_run_of_another_process_is_followed_cancelled_and_resumed_when_that_is_killed(
    endless_api: Api, owner: User, database: Database, database_url: str, tmp_path: Path
) -> None:
    runtime: Runtime = endless_api.app.state.runtime
    async with database.stores(owner.id) as stores:
        conversation = (await stores.conversations.create("Named")).id
    model = save_tiny_llama(tmp_path / "model", 16_384)
    environ = {"LAB_DATABASE_URL": database_url, "LAB_DATA_FOLDER": str(tmp_path / "data")}
    environ |= {"LAB_CHAT_MODEL": str(model), "LAB_CHAT_THREADS": "1", **UNGUARDED}
    told: list[list[Event]] = []
    async with other_lab(environ) as lab:
        cancel = partial(runtime.running.stop, owner.id, status=RunStatus.cancelled)
        for stop, chat in ((cancel, {}), (lab.kill, {"conversation_id": str(conversation)})):
            asked = turn(parameters={"max_new_tokens": 4000}, **chat)
            run_id, events = await lab.begin(asked), list[Event]()
            async with aclosing(runtime.running.follow(owner.id, run_id)) as following:
                async for event in following:
                    events.append(event)
                    if event.type is EventType.content and text_of(events) == event.data["text"]:
                        await stop(run_id)
            told.append(events)
        resumed = await runtime.answering.resume(owner, run_id)
        again = [event async for event in resumed.follow()]
    async with runtime.database.stores(owner.id) as stores:
        messages = await stores.messages.list(conversation)
        statuses = [(await stores.runs.get(events[0].run_id)).status for events in told]

    for events in told:
        assert [event.position for event in events] == list(range(len(events)))
    assert [events[-1].type for events in told] == [
        EventType.run_cancelled,
        EventType.run_interrupted,
    ]
    assert statuses == [RunStatus.cancelled, RunStatus.interrupted]
    assert [message.role for message in messages] == [Role.user, Role.assistant]
    assert told_of(again) == ["run_started", "receipt", "content", "usage", "message_stored"]
    assert again[-1].type is EventType.run_completed
