"""Threads, runs and agents in the shapes of the Agent Protocol, as LangGraph's client asks."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from itertools import pairwise
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx
import pytest
from langgraph.graph import StateGraph
from langgraph.runtime import Runtime as GraphRuntime
from langgraph.types import interrupt
from langgraph_sdk import get_client
from langgraph_sdk.errors import BadRequestError, ConflictError, NotFoundError
from langgraph_sdk.schema import StreamPart

from lab.client import connect
from lab.db import Database
from lab.db.messages import MessageStore
from lab.schemas.event_type import EventType
from lab.schemas.run_kind import RunKind
from lab.schemas.scope import Scope
from lab.schemas.user import User
from lab.workflows import chat, composer
from lab.workflows.asking import collected, tell_text
from lab.workflows.context import ChatContext
from tests.api_server import Api, key_of
from tests.integration.conftest import execute

pytestmark = pytest.mark.integration

Client = Any
"""LangGraph's; its types say of results that they are a list or a dict."""
MODEL = "lab-tiny"
DOG = "My dog is called Zamiko."
CAT = "My cat is called Rulo."
SHORT: dict[str, Any] = {"configurable": {"parameters": {"max_new_tokens": 12, "seed": 1}}}
LONG: dict[str, Any] = {"configurable": {"parameters": {"max_new_tokens": 4000, "seed": 1}}}


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def contents(messages: Sequence[Any]) -> list[tuple[str, str]]:
    return [(message["type"], message["content"]) for message in messages]


@pytest.fixture
async def client(api: Api, ann: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {ann}"}
    async with get_client(url=f"{api.url}/v1", headers=headers) as client:
        yield client


@pytest.fixture
async def endless(endless_api: Api, ann: str) -> AsyncIterator[Client]:
    """Return a client of a lab whose answers do not end by themselves."""
    headers = {"Authorization": f"Bearer {ann}"}
    async with get_client(url=f"{endless_api.url}/v1", headers=headers) as client:
        yield client


async def post(url: str, path: str, headers: Any, body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        return await http.post(path, json=body)


async def told(parts: AsyncIterator[StreamPart]) -> list[tuple[str, Any]]:
    return [(part.event, part.data) async for part in parts]


def read_piece(text: str) -> tuple[str, str, Any]:
    """Return the id, if it has one, the name and the data of a Server-Sent Event."""
    fields = dict(line.split(": ", 1) for line in text.split("\n"))
    return fields.get("id", ""), fields["event"], json.loads(fields["data"])


async def test_a_thread_is_a_conversation(client: Client, api: Api, ann: str) -> None:
    thread = await client.threads.create(metadata={"app": "notes", "n": {"deep": None}})
    result = await client.runs.wait(
        thread["thread_id"], MODEL, input=said(DOG), config=SHORT, metadata={"why": "test"}
    )
    async with connect(api.url, ann) as lab:
        (conversation,) = await lab.conversations.list()
        messages = await lab.conversations.messages(conversation.id)
        await lab.chat("What is my dog called?", conversation=conversation.id, max_new_tokens=12)
    seen = await client.threads.get(thread["thread_id"])
    changed = await client.threads.update(thread["thread_id"], metadata={"n": 2})
    await client.threads.delete(thread["thread_id"])

    assert thread["status"] == "idle"
    assert thread["metadata"] == {"app": "notes", "n": {"deep": None}}
    assert str(conversation.id) == thread["thread_id"]
    assert result["run"]["status"] == "success"
    assert result["run"]["metadata"] == {"why": "test"}
    assert contents(result["messages"]) == contents(result["values"]["messages"])
    assert [m["id"] for m in result["messages"]] == [str(m.id) for m in messages]
    assert contents(result["messages"])[0] == ("human", DOG)
    assert [kind for kind, _ in contents(seen["values"]["messages"])] == ["human", "ai"] * 2
    assert changed["metadata"] == {"app": "notes", "n": 2}
    with pytest.raises(NotFoundError):
        await client.threads.get(thread["thread_id"])


async def test_an_id_may_be_chosen_and_is_taken_once(client: Client, api: Api, bob: str) -> None:
    chosen = str(uuid4())
    made = await client.threads.create(thread_id=chosen)
    again = await client.threads.create(thread_id=chosen, if_exists="do_nothing")
    with pytest.raises(ConflictError, match="taken"):
        await client.threads.create(thread_id=chosen)
    async with api.client(bob) as his:
        for if_exists in ("raise", "do_nothing"):
            body = {"thread_id": chosen, "if_exists": if_exists}
            assert (await his.post("/v1/threads", json=body)).status_code == 409

    assert made["thread_id"] == again["thread_id"] == chosen


async def test_threads_are_found_by_metadata_and_status(client: Client) -> None:
    ids = [
        (await client.threads.create(metadata={"app": app}))["thread_id"] for app in ("a", "a", "b")
    ]
    search = client.threads.search
    found = [t["thread_id"] for t in await search(metadata={"app": "a"})]
    idle = [t["thread_id"] for t in await search(status="idle", limit=2, offset=1)]
    one = await search(ids=[ids[0]])
    busy = await search(status="busy")
    refused = await client.http.client.post("/threads/search", json={"values": {"x": 1}})

    assert found == [ids[1], ids[0]]
    assert idle == [ids[1], ids[0]]
    assert [t["thread_id"] for t in one] == [ids[0]]
    assert busy == []
    assert refused.status_code == 400
    assert "`values`" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("table", "columns", "path"),
    [
        ("conversations", {"title": "''", "n_messages": "0", "next_position": "0"}, "/threads"),
        ("runs", {"kind": "'chat'", "status": "'completed'", "parameters": "'{}'"}, "/runs"),
    ],
)
async def test_a_search_by_metadata_goes_by_an_index_and_ends_at_its_owner(
    client: Client,
    owner: User,
    other_owner: User,
    database_url: str,
    table: str,
    columns: dict[str, str],
    path: str,
) -> None:
    for user, name in ((owner, "mine"), (other_owner, "his")):
        await execute(
            database_url,
            f"INSERT INTO {table} (id, owner_id, details, {', '.join(columns)}) "
            f"SELECT gen_random_uuid(), '{user.id}', jsonb_build_object('{name}', n), "
            f"{', '.join(columns.values())} FROM generate_series(1, 3000) n",
        )
    await execute(database_url, f"ANALYZE {table}")
    reads = f"SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'ix_{table}_details'"
    (before,) = (await execute(database_url, reads))[0]

    found = [
        await client.http.post(f"{path}/search", json={"metadata": {name: 77}})
        for name in ("mine", "his")
    ]
    async with asyncio.timeout(20):
        while (await execute(database_url, reads))[0][0] == before:  # told some time later
            await asyncio.sleep(0.1)

    assert [[one["metadata"] for one in some] for some in found] == [[{"mine": 77}], []]


async def test_a_run_is_streamed_in_each_mode(client: Client) -> None:
    thread = await client.threads.create()
    modes = ["values", "messages", "messages-tuple", "updates", "custom"]
    parts = await told(
        client.runs.stream(
            thread["thread_id"], MODEL, input=said(DOG), config=SHORT, stream_mode=modes
        )
    )
    stored = (await client.threads.get(thread["thread_id"]))["values"]["messages"]

    names = [name for name, _ in parts]
    by_name: dict[str, list[Any]] = {name: [] for name in names}
    for name, data in parts:
        by_name[name].append(data)
    assert names[0] == "metadata"
    assert by_name["metadata"][0]["thread_id"] == thread["thread_id"]
    assert names[-1] == "end"
    first, last = by_name["values"]
    assert contents(first["messages"]) == [("human", DOG)]
    assert last["messages"] == stored
    answer = stored[-1]["content"]
    partial = [data[0]["content"] for data in by_name["messages/partial"]]
    assert partial[-1] == answer
    assert all(b.startswith(a) for a, b in pairwise(partial))
    assert "".join(chunk["content"] for chunk, _ in by_name["messages"]) == answer
    assert [data[0]["content"] for data in by_name["messages/complete"]] == [answer]
    steps = [next(iter(data)) for data in by_name["updates"]]
    assert steps == ["remember", "assemble", "generate", "record"]
    assert by_name["updates"][-1]["record"]["messages"] == [stored[-1]]
    types = [event["type"] for event in by_name["custom"]]
    assert (types[0], types[-1]) == ("run_started", "run_completed")


async def test_a_stream_goes_on_after_any_of_its_events(client: Client, api: Api, ann: str) -> None:
    thread = await client.threads.create()
    run = await client.runs.create(thread["thread_id"], MODEL, input=said(DOG), config=SHORT)
    path = f"/v1/threads/{thread['thread_id']}/runs/{run['run_id']}/stream"

    async def read(*modes: str, after: str = "") -> list[tuple[str, str, Any]]:
        async with api.client(ann) as http:
            headers = {"Last-Event-ID": after} if after else {}
            answer = await http.get(path, params={"stream_mode": modes}, headers=headers)
            return [read_piece(piece) for piece in answer.text.split("\n\n")[:-1]]

    modes = ["values", "messages", "updates"]
    whole = await read(*modes)
    ids = [id_ for id_, _, _ in whole if id_]
    rests = [await read(*modes, after=id_) for id_ in ids]
    joined = await told(
        client.runs.join_stream(thread["thread_id"], run["run_id"], stream_mode="values")
    )
    async with api.client(ann) as http:
        strange = await http.get(path, headers={"Last-Event-ID": "x"})

    assert len(set(ids)) == len(ids) > 8
    places = [i for i, (id_, _, _) in enumerate(whole) if id_]
    assert rests == [whole[i + 1 :] for i in places]
    assert await read(*modes, after="-1") == whole
    assert whole[-1][:2] == (ids[-1], "end")
    assert [name for name, _ in joined] == ["metadata", "values", "values", "end"]
    assert strange.status_code == 400


async def test_a_stream_goes_on_in_other_modes_where_it_was(
    client: Client, api: Api, ann: str
) -> None:
    thread = await client.threads.create()
    run = await client.runs.create(thread["thread_id"], MODEL, input=said(DOG), config=SHORT)
    path = f"/v1/threads/{thread['thread_id']}/runs/{run['run_id']}/stream"
    modes = ["values", "messages", "messages-tuple", "updates", "custom"]

    async def read(mode: str, after: int = -1) -> list[tuple[int, str, Any]]:
        """Return what is told in a mode: of each piece the event, its name and data."""
        async with api.client(ann) as http:
            headers = {"Last-Event-ID": str(after)}
            answer = await http.get(path, params={"stream_mode": mode}, headers=headers)
        found, position = [], -1
        for piece in reversed(answer.text.split("\n\n")[:-1]):
            id_, name, data = read_piece(piece)
            position = int(id_) if id_ else position  # the last of an event has its id
            found.append((position, name, data))
        return found[::-1]

    alone = {mode: await read(mode) for mode in modes}
    for place in sorted({place for mode in modes for place, _, _ in alone[mode]}):
        for mode in modes:
            assert await read(mode, place) == [one for one in alone[mode] if one[0] > place]
    async with connect(api.url, ann) as lab:
        events = [event async for event in lab.runs.follow(UUID(run["run_id"]))]
    told = [data for _, name, data in alone["custom"] if name == "custom"]
    assert told == [event.model_dump(mode="json") for event in events]
    assert {place for place, _, _ in alone["custom"]} == {event.position for event in events}


async def test_runs_of_a_thread_are_listed_found_and_deleted(client: Client) -> None:
    thread = (await client.threads.create())["thread_id"]
    run = await client.runs.create(
        thread, MODEL, input=said(DOG), config={**SHORT, "tags": ["x"]}, metadata={"a": 1}
    )
    joined = await client.runs.join(thread, run["run_id"])
    got = await client.runs.get(thread, run["run_id"])
    listed = await client.runs.list(thread)
    http = client.http
    found = await http.post("/runs/search", json={"metadata": {"a": 1}, "status": "success"})
    none = await http.post("/runs/search", json={"status": "pending"})
    await client.runs.delete(thread, run["run_id"])

    assert (run["status"], got["status"], got["assistant_id"]) == ("pending", "success", MODEL)
    assert got["metadata"] == {"a": 1, "tags": ["x"]}
    assert listed == found == [got]
    assert none == []
    assert joined["run"] == got
    with pytest.raises(NotFoundError):
        await client.runs.get(thread, run["run_id"])
    assert len((await client.threads.get(thread))["values"]["messages"]) == 2


async def test_without_a_thread_nothing_is_kept(client: Client, api: Api, ann: str) -> None:
    result = await client.runs.wait(None, MODEL, input=said(DOG), config=SHORT)
    parts = await told(client.runs.stream(None, MODEL, input="Hello.", config=SHORT))
    background = await client.runs.create(None, MODEL, input=said(CAT), config=SHORT)
    waited = await client.http.get(f"/runs/{background['run_id']}/wait")
    kept = await client.http.post(
        "/runs/wait",
        json={"agent_id": MODEL, "input": DOG, "config": SHORT, "on_completion": "keep"},
    )

    assert [kind for kind, _ in contents(result["messages"])] == ["human", "ai"]
    assert "thread_id" not in {**result["run"], **background}
    assert contents(parts[-2][1]["messages"])[0] == ("human", "Hello.")
    assert [kind for kind, _ in contents(waited["messages"])] == ["ai"]
    (thread,) = await client.threads.search()
    assert kept["run"]["thread_id"] == thread["thread_id"]
    async with connect(api.url, ann) as lab:
        assert {m.text for m in await lab.memories.list()} >= {DOG}
        assert CAT not in {m.text for m in await lab.memories.list()}


async def test_messages_come_in_the_words_of_langchain_too(client: Client) -> None:
    thread = (await client.threads.create())["thread_id"]
    call = {"id": "a", "name": "add", "args": {"n": 1}, "type": "tool_call"}
    added = await client.http.patch(
        f"/threads/{thread}",
        json={
            "values": {"messages": [{"type": "human", "content": DOG}]},
            "messages": [
                {"type": "ai", "content": "", "tool_calls": [call]},
                {"role": "tool", "content": "1", "tool_call_id": "a"},
                {"role": "assistant", "content": [{"type": "text", "text": "It ", "metadata": {}}]},
            ],
        },
    )
    wrong: list[dict[str, Any]] = [
        {"input": {"question": "?"}},
        {"input": said(DOG), "messages": []},
        {"input": {"messages": [{"role": "nobody", "content": "x"}]}},
        {"input": {"messages": [7]}},
        {},
    ]
    for body in wrong:
        with pytest.raises(BadRequestError):
            await client.http.post(f"/threads/{thread}/runs/wait", json={"agent_id": MODEL} | body)

    assert contents((await client.threads.get(thread))["messages"]) == [
        ("human", DOG),
        ("ai", ""),
        ("tool", "1"),
        ("ai", "It "),
    ]
    assert (await client.threads.get(thread))["messages"][1]["tool_calls"] == [call]
    assert "messages" not in added
    assert len(await client.runs.list(thread)) == 0


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"webhook": "http://a.org"}, "webhook"),
        ({"multitask_strategy": "enqueue"}, "multitask_strategy"),
        ({"multitask_strategy": "rollback"}, "multitask_strategy"),
        ({"stream_mode": "debug"}, "stream_mode"),
        ({"interrupt_before": ["record"]}, "interrupt_before"),
        ({"stream_subgraphs": True}, "stream_subgraphs"),
        ({"on_completion": "delete"}, "on_completion"),
        ({"config": {"recursion_limit": 3}}, "recursion_limit"),
        ({"config": {"configurable": {"model": "x"}}}, "configurable.model"),
        ({"command": {"goto": "record"}}, "command"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(
    client: Client, body: dict[str, Any], names: str
) -> None:
    thread = (await client.threads.create())["thread_id"]
    asked = {"agent_id": MODEL, "input": said(DOG), **body}
    answer = await client.http.client.post(f"/threads/{thread}/runs/wait", json=asked)

    assert answer.status_code == 400
    assert names in answer.json()["error"]["message"]
    assert await client.runs.list(thread) == []


async def test_a_failed_run_is_answered_with_its_error(client: Client) -> None:
    thread = (await client.threads.create())["thread_id"]
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await client.runs.wait(thread, "nobody", input=said(DOG))
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await client.runs.wait(thread, MODEL, input=said("word " * 3000), config=SHORT)
    failed = await client.threads.get(thread)
    (run,) = await client.runs.list(thread)
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await client.runs.join(thread, run["run_id"])
    parts = await told(client.runs.join_stream(thread, run["run_id"]))

    assert (failed["status"], run["status"]) == ("error", "error")
    assert parts[-1][0] == "error"
    assert parts[-1][1]["error"] == "context_length_exceeded"


async def test_a_thread_answers_one_run_at_a_time(endless: Client) -> None:
    thread = (await endless.threads.create())["thread_id"]
    run = await endless.runs.create(thread, "default", input=said(DOG), config=LONG)
    both = await asyncio.gather(
        *(endless.runs.create(thread, "default", input=said(CAT), config=LONG) for _ in range(2)),
        return_exceptions=True,
    )
    busy = await endless.threads.search(status="busy")
    second = await endless.runs.create(
        thread, "default", input=said(CAT), config=LONG, multitask_strategy="interrupt"
    )
    first = await endless.runs.get(thread, run["run_id"])
    await endless.runs.cancel(thread, second["run_id"], wait=True)
    cancelled = await endless.runs.get(thread, second["run_id"])
    refused = await endless.http.client.post(
        f"/threads/{thread}/runs/{second['run_id']}/cancel", params={"action": "rollback"}
    )

    assert all(isinstance(one, ConflictError) for one in both)
    assert [t["thread_id"] for t in busy] == [thread]
    assert (first["status"], cancelled["status"]) == ("interrupted", "interrupted")
    assert refused.status_code == 400
    assert (await endless.threads.get(thread))["status"] == "idle"


async def test_of_runs_that_come_at_once_one_begins(endless: Client) -> None:
    thread = (await endless.threads.create())["thread_id"]
    all_ = await asyncio.gather(
        *(endless.runs.create(thread, "default", input=said(CAT), config=LONG) for _ in range(4)),
        return_exceptions=True,
    )
    begun = [one for one in all_ if not isinstance(one, BaseException)]
    for run in begun:
        await endless.runs.cancel(thread, run["run_id"], wait=True)

    assert len(begun) == 1
    assert sum(isinstance(one, ConflictError) for one in all_) == 3


@pytest.mark.parametrize(("on_disconnect", "ends"), [("cancel", True), ("continue", False)])
async def test_a_client_that_leaves_ends_its_run_unless_it_goes_on(
    endless: Client, endless_api: Api, ann: str, on_disconnect: str, ends: bool
) -> None:
    thread = (await endless.threads.create())["thread_id"]
    body: dict[str, Any] = {"input": said(DOG), "config": LONG, "stream_mode": "messages-tuple"}
    path = f"/v1/threads/{thread}/runs/stream"
    body["on_disconnect"] = on_disconnect
    async with endless_api.client(ann) as http, http.stream("POST", path, json=body) as answer:
        headers = answer.headers
        async for line in answer.aiter_lines():
            if line == "event: messages":
                break
    (run,) = await endless.runs.list(thread)
    if ends:
        async with asyncio.timeout(10):
            while run["status"] == "pending":
                await asyncio.sleep(0.05)
                run = await endless.runs.get(thread, run["run_id"])
    status = run["status"]
    await endless.runs.cancel(thread, run["run_id"], wait=True)

    assert status == ("interrupted" if ends else "pending")
    assert headers["Content-Location"] == f"/threads/{thread}/runs/{run['run_id']}"
    assert ("Location" in headers) is not ends


class Two(chat.State, total=False):
    """What flows in a graph of two steps that ask at once."""

    replies: Annotated[list[dict[str, Any]], collected]


def asks_two() -> StateGraph[Two, ChatContext]:
    async def first(state: Two, runtime: GraphRuntime[ChatContext]) -> Two:
        return {"replies": [{"first": interrupt("The first?")}]}

    async def second(state: Two, runtime: GraphRuntime[ChatContext]) -> Two:
        return {"replies": [{"second": interrupt("The second?")}]}

    async def say(state: Two, runtime: GraphRuntime[ChatContext]) -> Two:
        text = json.dumps(state["replies"])
        return {"answer": tell_text(runtime.context, text).model_dump(mode="json")}

    graph = chat.begin_graph(Two)
    graph.add_node("first", first)
    graph.add_node("second", second)
    graph.add_node("say", say)
    graph.add_edge("remember", "first")
    graph.add_edge("remember", "second")
    graph.add_edge(["first", "second"], "say")
    graph.add_edge("say", "record")
    return graph


async def test_a_plain_reply_answers_the_one_question_that_is_open(
    client: Client, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(vars(composer)["GRAPHS"], "chat", asks_two)
    monkeypatch.setattr(api.app.state.runtime.composer, "_graphs", {})
    thread = (await client.threads.create())["thread_id"]
    asked = await client.runs.wait(thread, MODEL, input=said(DOG))
    first, second = asked["values"]["__interrupt__"]

    async def reply(value: Any) -> Any:
        return await client.runs.wait(thread, MODEL, command={"resume": value})

    with pytest.raises(httpx.HTTPStatusError, match="422") as both:
        await reply("Yes.")
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await reply({"0" * 32: "Yes."})
    waits = (await client.threads.get(thread))["status"]
    named = await reply({second["id"]: "Two."})
    plain = await reply("One.")

    message = both.value.response.json()["error"]["message"]
    assert first["id"] in message
    assert second["id"] in message
    assert waits == "interrupted"
    assert named["values"]["__interrupt__"] == [first]
    assert contents(plain["messages"])[-1][1] == '[{"first": "One."}, {"second": "Two."}]'
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await reply("Yes.")


async def test_the_history_of_a_thread_holds_its_states(client: Client) -> None:
    thread = (await client.threads.create())["thread_id"]
    first = await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    second = await client.runs.wait(thread, MODEL, input=said(CAT), config=SHORT)

    history = await client.threads.get_history(thread, limit=20)
    older = await client.threads.get_history(thread, limit=2, before=history[5]["checkpoint"])
    got = await client.http.get(f"/threads/{thread}/history", params={"limit": 3})
    last = await client.threads.get_state(thread)
    earlier = await client.threads.get_state(
        thread, checkpoint_id=history[6]["checkpoint"]["checkpoint_id"]
    )

    assert len(history) == 12
    assert older == history[6:8]
    assert got == history[:3]
    assert last == history[0]
    assert earlier == history[6]
    assert history[0]["values"]["messages"] == second["messages"]
    assert history[6]["values"]["messages"] == first["messages"]
    assert history[6]["metadata"] == {"run_id": first["run"]["run_id"]}
    assert [state["next"] for state in history[:3]] == [[], ["record"], ["generate"]]
    assert history[2]["values"]["window"][-1]["content"] == CAT
    fresh = (await client.threads.create())["thread_id"]
    assert await client.threads.get_history(fresh) == []
    with pytest.raises(ConflictError, match="nothing ran"):
        await client.threads.get_state(fresh)


async def test_who_changes_a_thread_is_answered_without_reading_its_messages(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    reading = MessageStore.list

    async def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the messages are not asked for")

    monkeypatch.setattr(MessageStore, "list", refuse)
    changed = await client.threads.update(thread, metadata={"app": "a"})
    await client.http.patch(f"/threads/{thread}", json={"messages": said(CAT)["messages"]})
    again = await client.threads.create(thread_id=thread, if_exists="do_nothing")
    copy = await client.http.post(f"/threads/{thread}/copy", json=None)
    monkeypatch.setattr(MessageStore, "list", reading)
    seen = await client.threads.get(thread)

    assert changed == {**again, "updated_at": changed["updated_at"]}
    assert copy["metadata"] == changed["metadata"] == {"app": "a"}
    assert contents(seen["messages"])[-1] == ("human", CAT)


async def test_a_copy_goes_on_by_itself(client: Client) -> None:
    thread = (await client.threads.create(metadata={"app": "a"}))["thread_id"]
    await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    copy = await client.http.post(f"/threads/{thread}/copy", json=None)
    copied = await client.threads.get(copy["thread_id"])
    await client.runs.wait(copy["thread_id"], MODEL, input=said(CAT), config=SHORT)
    source = await client.threads.get(thread)
    went_on = await client.threads.get(copy["thread_id"])

    assert contents(copied["messages"]) == contents(source["values"]["messages"])
    assert copy["metadata"] == {"app": "a"}
    assert len(went_on["values"]["messages"]) == 4
    assert (await client.threads.copy(thread)) is not None


async def test_a_run_from_an_earlier_state_goes_on_in_a_fork(client: Client) -> None:
    thread = (await client.threads.create())["thread_id"]
    first = await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    await client.runs.wait(thread, MODEL, input=said(CAT), config=SHORT)
    states = await client.threads.get_history(thread, limit=20)
    before = await client.threads.get(thread)

    other = await client.runs.wait(
        thread,
        MODEL,
        input=said("I live in Belora."),
        config=SHORT,
        checkpoint=states[6]["checkpoint"],
    )
    again = await client.runs.wait(
        thread, MODEL, checkpoint_id=states[2]["checkpoint"]["checkpoint_id"]
    )
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await client.runs.wait(
            thread, MODEL, checkpoint_id=states[0]["checkpoint"]["checkpoint_id"]
        )
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await client.runs.wait(thread, MODEL, input=said(DOG), checkpoint_id=str(uuid4()))

    assert contents(other["messages"])[:3] == [
        *contents(first["messages"]),
        ("human", "I live in Belora."),
    ]
    assert len(other["messages"]) == 4
    assert len({thread, other["run"]["thread_id"], again["run"]["thread_id"]}) == 3
    assert contents(again["messages"]) == contents(before["values"]["messages"])
    assert (await client.threads.get(thread)) == before


async def test_a_thread_that_is_missing_is_made_where_that_is_asked(
    client: Client,
) -> None:
    thread = str(uuid4())
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT, if_not_exists="create")
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await client.runs.wait(thread, MODEL, command={"resume": True})

    assert (await client.threads.get(thread))["status"] == "idle"


async def test_a_refused_run_leaves_nothing_and_ends_nothing(endless: Client, api: Api) -> None:
    thread = (await endless.threads.create())["thread_id"]
    ended = await endless.runs.create(thread, "default", input=said(DOG), config=LONG)
    await endless.runs.cancel(thread, ended["run_id"], wait=True)
    states = await endless.threads.get_history(thread)
    going_on = await endless.runs.create(thread, "default", input=said(DOG), config=LONG)
    missing = str(uuid4())
    bodies: list[tuple[str, dict[str, Any]]] = [
        (f"/threads/{thread}/runs", {"multitask_strategy": "interrupt"}),
        (f"/threads/{thread}/runs", {"checkpoint_id": states[0]["checkpoint"]["checkpoint_id"]}),
        ("/runs", {"on_completion": "keep"}),
        (f"/threads/{missing}/runs", {"if_not_exists": "create"}),
    ]
    refused = [
        await endless.http.client.post(path, json={"agent_id": "nobody", "input": CAT, **body})
        for path, body in bodies
    ]
    nul = await endless.http.client.post(
        "/runs",
        json={
            **{"agent_id": "default", "input": CAT, "config": LONG},
            **{"on_completion": "keep", "metadata": {"a": "\x00"}},
        },
    )
    command = await endless.http.client.post(
        f"/threads/{thread}/runs",
        json={"command": {"resume": True}, "multitask_strategy": "interrupt"},
    )
    run = await endless.runs.get(thread, going_on["run_id"])
    await endless.runs.cancel(thread, going_on["run_id"], wait=True)
    threads = await endless.threads.search()

    assert [one.status_code for one in refused] == [404] * 4
    assert (nul.status_code, command.status_code) == (400, 409)
    assert run["status"] == "pending"
    assert [one["thread_id"] for one in threads] == [thread]


async def test_of_runs_of_several_labs_one_begins(
    endless_api: Api, ann: str, client: Client, api: Api
) -> None:
    headers = {"Authorization": f"Bearer {ann}"}
    thread = (await client.threads.create())["thread_id"]
    labs = [endless_api, api]
    bodies = [{"agent_id": "default", "input": CAT, "config": LONG}] * 4
    answers = await asyncio.gather(
        *(
            post(labs[i % 2].url, f"/v1/threads/{thread}/runs", headers, body)
            for i, body in enumerate(bodies)
        )
    )
    begun = [answer.json() for answer in answers if answer.status_code == 200]
    for run in begun:
        await client.runs.cancel(thread, run["run_id"], wait=True)

    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


async def test_of_two_labs_that_begin_at_the_same_moment_one_does_each_time(
    endless_api: Api, ann: str, client: Client, endless: Client
) -> None:
    thread = (await client.threads.create())["thread_id"]
    counts = []
    for _ in range(50):
        both = await asyncio.gather(
            *(
                lab.runs.create(thread, "default", input=said(CAT), config=LONG)
                for lab in (client, endless)
            ),
            return_exceptions=True,
        )
        refused = [type(one) for one in both if isinstance(one, BaseException)]
        counts.append((len(both) - len(refused), refused))
        for lab, one in zip((client, endless), both, strict=True):
            if not isinstance(one, BaseException):
                await lab.runs.cancel(thread, one["run_id"], wait=True)

    assert counts == [(1, [ConflictError])] * 50


async def test_a_run_of_another_lab_has_ended_before_the_next_begins(
    endless_api: Api, ann: str, client: Client, endless: Client, database_url: str
) -> None:
    async with connect(endless_api.url, ann) as lab:  # nothing is made of the endless answers
        await lab.config.set("summaries.enabled", False)
        await lab.config.set("workflow.auto_title", False)
    thread = (await client.threads.create())["thread_id"]
    for strategy in ("interrupt", "reject", "interrupt"):
        run = await endless.runs.create(
            thread,
            "default",
            input=said(DOG),
            config=LONG,
        )
        await until_it_writes(endless_api, ann, run)
        if strategy == "reject":
            await client.runs.cancel(thread, run["run_id"], wait=True)
        await client.runs.wait(
            thread, MODEL, input=said(CAT), config=SHORT, multitask_strategy=strategy
        )
    ends = await execute(
        database_url,
        "SELECT r.created_at, (SELECT max(e.created_at) FROM events e WHERE e.run_id = r.id), "
        "status FROM runs r ORDER BY r.id",
    )
    stored = (await client.threads.get(thread))["values"]["messages"]

    assert [status for _, _, status in ends] == ["cancelled", "completed"] * 3
    assert all(ended <= begun for (_, ended, _), (begun, _, _) in pairwise(ends))
    assert [kind for kind, _ in contents(stored)] == ["human", "ai"] * 6


async def until_it_writes(api: Api, key: str, run: Any) -> None:
    async with connect(api.url, key) as lab, aclosing(lab.runs.follow(UUID(run["run_id"]))) as es:
        async for event in es:
            if event.type is EventType.content:
                return


async def test_metadata_is_kept_with_the_run_from_its_beginning(
    endless: Client, database_url: str
) -> None:
    thread = (await endless.threads.create())["thread_id"]
    await execute(database_url, "ALTER TABLE runs ADD CHECK (details ? 'why') NOT VALID")
    try:
        run = await endless.runs.create(
            thread, "default", input=said(DOG), config=LONG, metadata={"why": "test"}
        )
    finally:
        await execute(database_url, "ALTER TABLE runs DROP CONSTRAINT runs_details_check")
    (found,) = await endless.http.post("/runs/search", json={"metadata": {"why": "test"}})
    await endless.runs.cancel(thread, run["run_id"], wait=True)

    assert found["run_id"] == run["run_id"]


async def test_a_run_that_a_killed_lab_left_holds_nobody_up(
    client: Client, database: Database, owner: User, database_url: str
) -> None:
    thread = (await client.threads.create())["thread_id"]
    async with database.stores(owner.id) as stores:
        left = await stores.runs.create(RunKind.chat, MODEL, {}, UUID(thread))
    await execute(database_url, f"UPDATE runs SET lab_number = 2000000000 WHERE id = '{left.id}'")
    result = await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)

    assert result["run"]["status"] == "success"


async def test_a_state_runs_again_as_the_request_wants_it(
    client: Client, api: Api, ann: str
) -> None:
    async with connect(api.url, ann) as lab:
        await lab.profiles.add("other", model=MODEL)
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    state = (await client.threads.get_history(thread))[1]["checkpoint"]
    config: Any = {"configurable": {"parameters": {"max_new_tokens": 3}}}
    again = await client.runs.wait(thread, "other", checkpoint=state, config=config)
    async with connect(api.url, ann) as lab:
        run = await lab.runs.get(UUID(again["run"]["run_id"]))
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        await client.runs.wait(thread, MODEL, command={"resume": True}, config=config)

    assert again["run"]["agent_id"] == "other"
    assert (run.parameters["max_new_tokens"], run.parameters["seed"]) == (3, 1)


async def test_a_turn_without_its_question_is_not_asked_again(
    client: Client, api: Api, ann: str
) -> None:
    thread = (await client.threads.create())["thread_id"]
    result = await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    state = (await client.threads.get_history(thread))[1]["checkpoint"]
    async with connect(api.url, ann) as lab:
        question = result["messages"][0]["id"]
        await lab.conversations.delete_message(UUID(thread), UUID(question))
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        await client.runs.wait(thread, MODEL, checkpoint=state)

    assert len(await client.threads.search()) == 1


async def test_what_a_cancelled_run_answered_is_told(
    endless: Client, endless_api: Api, ann: str
) -> None:
    thread = (await endless.threads.create())["thread_id"]
    run = await endless.runs.create(thread, "default", input=said(DOG), config=LONG)
    async with (
        connect(endless_api.url, ann) as lab,
        aclosing(lab.runs.follow(UUID(run["run_id"]))) as es,
    ):
        async for event in es:
            if event.type is EventType.content:
                break
    await endless.runs.cancel(thread, run["run_id"], wait=True)
    stored = (await endless.threads.get(thread))["values"]["messages"]
    joined = await endless.runs.join(thread, run["run_id"])
    parts = await told(endless.runs.join_stream(thread, run["run_id"], stream_mode=["values"]))

    assert [kind for kind, _ in contents(stored)] == ["human", "ai"]
    assert contents(joined["messages"]) == contents(stored)
    values = [contents(data["messages"]) for name, data in parts if name == "values"]
    assert values == [contents(stored)[:1], contents(stored)]


async def test_a_run_without_events_is_told_by_its_messages(
    client: Client, database_url: str
) -> None:
    thread = (await client.threads.create())["thread_id"]
    result = await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    await execute(database_url, "DELETE FROM events")
    await execute(database_url, "UPDATE runs SET finished_at = finished_at - interval '1 hour'")
    joined = await client.runs.join(thread, result["run"]["run_id"])
    parts = await told(client.runs.join_stream(thread, result["run"]["run_id"]))

    assert joined["messages"] == result["messages"]
    assert [name for name, _ in parts] == ["metadata", "values", "end"]
    assert parts[1][1]["messages"] == result["values"]["messages"]


async def test_an_id_under_which_steps_are_left_is_not_given_away(
    client: Client, database_url: str
) -> None:
    thread = (await client.threads.create())["thread_id"]
    await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT)
    await execute(database_url, "DELETE FROM conversations")  # as under a turn that goes on
    with pytest.raises(ConflictError, match="another"):
        await client.threads.create(thread_id=thread)

    assert await client.threads.search() == []


async def test_profiles_are_agents(client: Client) -> None:
    agents = await client.http.post("/agents/search", json={"name": "tiny"})
    agent = await client.http.get(f"/agents/{MODEL}")
    schemas = await client.http.get(f"/agents/{MODEL}/schemas")
    with pytest.raises(NotFoundError):
        await client.http.get("/agents/no/body")

    assert agent in agents
    assert agent["capabilities"] == {"ap.io.messages": True, "ap.io.streaming": True}
    assert schemas["input_schema"]["required"] == ["messages"]
    assert "parameters" in schemas["config_schema"]["properties"]
    json.dumps(schemas)


async def test_documents_are_kept_by_the_same_client(client: Client) -> None:
    await client.store.put_item(["notes"], "a", {"text": "one"})
    found = await client.store.search_items(["notes"])

    assert [(item["key"], item["value"]) for item in found["items"]] == [("a", {"text": "one"})]


async def test_anothers_threads_and_runs_do_not_exist(client: Client, api: Api, bob: str) -> None:
    thread = (await client.threads.create())["thread_id"]
    run = (await client.runs.wait(thread, MODEL, input=said(DOG), config=SHORT))["run"]["run_id"]
    headers = {"Authorization": f"Bearer {bob}"}
    async with get_client(url=f"{api.url}/v1", headers=headers) as his:
        theirs = (await his.threads.create())["thread_id"]
        assert [t["thread_id"] for t in await his.threads.search()] == [theirs]
        assert await his.threads.search(ids=[thread]) == []
        assert await his.http.post("/runs/search", json={}) == []
        for call in (
            his.runs.get(theirs, run),
            his.runs.create(thread, MODEL, input=said(DOG)),
            his.threads.get_history(thread),
            his.threads.copy(thread),
        ):
            with pytest.raises(NotFoundError):
                await call


async def test_a_token_needs_both_scopes_to_run(api: Api, database: Database, owner: User) -> None:
    for scope in (Scope.custom_lab_infer, Scope.custom_lab_memory):
        async with api.client(await key_of(database, owner, [scope])) as http:
            body = {"agent_id": MODEL, "input": "Hello."}
            assert (await http.post("/v1/runs/wait", json=body)).status_code == 403
