"""Nobody reads, changes or deletes what is another's."""

import json
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4
from zipfile import ZipFile

import httpx
import pytest

from lab.client import connect
from lab.db import Database
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import Api, hello, key_of
from tests.integration.test_db_stores import TestFactStore as Fact
from tests.integration.test_db_stores import TestWebPageStore as WebPages
from tests.pictures import png

pytestmark = pytest.mark.integration

NOBODYS = {
    "/v1/agents/{agent_id}",
    "/v1/agents/{agent_id}/schemas",
    "/v1/models/{model_id}",
    "/v1/config/{key}",
    "/v1/residency/{model_id}",
}
NIGHTLY = {"name": "nightly", "cron": "30 2 * * *", "evaluation": "long_memory"}
TOOL = {"name": "one", "description": "One.", "code": "def one():\n    return 1\n"}
BODIES: dict[str, Any] = {
    "/v1/conversations/{conversation_id}": {"title": "Mine"},
    "/v1/conversations/{conversation_id}/messages": {
        "messages": [{"role": "user", "content": "Hi."}]
    },
    "/v1/threads/{thread_id}": {"metadata": {"mine": True}},
    "/v1/threads/{thread_id}/history": {},
    "/v1/threads/{thread_id}/runs": {"input": "Mine."},
    "/v1/threads/{thread_id}/runs/wait": {"input": "Mine."},
    "/v1/threads/{thread_id}/runs/stream": {"input": "Mine."},
    "/v1/memories/{memory_id}": {"text": "Mine."},
    "/v1/schedules/{schedule_id}": {"enabled": False},
    "/v1/tools/{tool_id}": {"version": 1, "tool": TOOL},
    "/v1/tools/{tool_id}/approve": {"version": 1},
    "/v1/tools/{tool_id}/run": {"arguments": {}},
    "/v1/profiles/{profile_id}": {"version": 1, "profile": {"id": "mine", "model": "lab-tiny"}},
}


async def rows_of(client: httpx.AsyncClient) -> dict[str, str]:
    """Make one row of each kind and return the path of each."""
    conversation = (await client.post("/v1/conversations", json={})).json()["id"]
    answer = await client.post(
        "/v1/chat/completions", json=hello("My dog is Zamiko.", conversation_id=conversation)
    )
    run = answer.json()["lab"]["run_id"]
    (message, *_) = (await client.get(f"/v1/conversations/{conversation}/messages")).json()
    (memory, *_) = (await client.get("/v1/memories")).json()
    sent = await client.post("/v1/documents", files={"file": ("a.txt", b"My dog is Zamiko.")})
    key = (await client.post("/v1/keys", json={"name": "mine"})).json()["api_key"]["id"]
    brief = {"id": "brief", "model": "lab-tiny"}
    profile = (await client.post("/v1/profiles", json=brief)).json()["id"]
    tool = (await client.post("/v1/tools", json=TOOL)).json()["id"]
    return {
        "conversation": f"/v1/conversations/{conversation}",
        "messages": f"/v1/conversations/{conversation}/messages",
        "message": f"/v1/conversations/{conversation}/messages/{message['id']}",
        "memory": f"/v1/memories/{memory['id']}",
        "document": f"/v1/documents/{sent.json()['document']['id']}",
        "run": f"/v1/runs/{run}",
        "receipt": f"/v1/runs/{run}/receipt",
        "events": f"/v1/runs/{run}/events",
        "key": f"/v1/keys/{key}",
        "profile": f"/v1/profiles/{profile}",
        "tool": f"/v1/tools/{tool}",
    }


async def test_another_users_rows_do_not_exist(api: Api, ann: str, bob: str) -> None:
    async with api.client(ann) as hers, api.client(bob) as his:
        paths = await rows_of(hers)
        read = {
            kind: (await his.get(paths[kind])).status_code
            for kind in ("conversation", "messages", "message", "run", "receipt", "events")
        }
        deleted = {
            kind: (await his.delete(paths[kind])).status_code
            for kind in ("message", "memory", "document", "key", "conversation")
        }
        renamed = await his.patch(paths["conversation"], json={"title": "Mine"})
        added = await his.post(
            paths["messages"], json={"messages": [{"role": "user", "content": "Hi."}]}
        )
        asked = await his.post(
            "/v1/chat/completions",
            json=hello(conversation_id=paths["conversation"].rsplit("/", 1)[1]),
        )
        still = [(await hers.get(paths[kind])).status_code for kind in read]

    assert set(read.values()) == {404}
    assert set(deleted.values()) == {404}
    assert (renamed.status_code, added.status_code, asked.status_code) == (404, 404, 404)
    assert set(still) == {200}


async def test_no_route_with_an_id_reaches_anothers_rows(
    api: Api, ann: str, bob: str, database: Database, owner: User
) -> None:
    async with api.client(ann) as hers, api.client(bob) as his:
        paths = await rows_of(hers)
        schedule = (await hers.post("/v1/schedules", json=NIGHTLY)).json()["id"]
        async with database.stores(owner.id) as stores:
            eval_run = (await stores.eval_runs.create("long_memory", "evals/x.ipynb")).id
            fact = (await Fact().create(stores)).id
            file = await stores.files.add(png(8, 8), "image/png")
            image = (await stores.images.add(file.id, "a boat", "tiny", {"seed": 1})).id
            page = (await WebPages().create(stores)).id
            task = (await stores.research_tasks.create("Do canaries sing?")).id
        ids = {
            name: paths[name].rsplit("/", 1)[1]
            for name in ("message", "memory", "document", "run", "key", "profile", "tool")
        }
        ids |= {"conversation": paths["conversation"].rsplit("/", 1)[1], "schedule": schedule}
        histories = api.app.state.runtime.histories
        state = await histories.states(owner, UUID(ids["conversation"]), limit=1)
        ids |= {"thread": ids["conversation"], "checkpoint": str(state[0].checkpoint_id)}
        ids |= {"fact": str(fact), "image": str(image), "file": str(file.id), "page": str(page)}
        ids |= {"task": str(task)}
        document = (await his.get("/openapi.json")).json()
        answers: dict[str, int] = {}
        for path, operations in document["paths"].items():
            if "{" not in path or path in NOBODYS:
                continue
            mine = ids | {"run": str(eval_run)} if "/evals/" in path else ids
            url = path.replace("_id}", "}").format(**mine)
            for method in operations:
                asked = await his.request(method, url, json=BODIES.get(path))
                answers[f"{method} {path}"] = asked.status_code
        still = [(await hers.get(url)).status_code for url in set(paths.values())]

    assert len(answers) >= 18
    assert {operation: status for operation, status in answers.items() if status != 404} == {}
    assert set(still) == {200, 405}


async def test_lists_and_searches_hold_ones_own(api: Api, ann: str, bob: str) -> None:
    async with api.client(ann) as hers, api.client(bob) as his:
        await rows_of(hers)
        lists = [
            (await his.get(path)).json()
            for path in (
                "/v1/conversations",
                "/v1/memories",
                "/v1/documents",
                "/v1/runs",
                "/v1/memories/search?q=dog",
            )
        ]
        keys = (await his.get("/v1/keys")).json()

    assert lists == [[], [], [], [], []]
    assert [key["name"] for key in keys] == ["test"]


async def test_owners_can_delete_what_is_theirs(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        paths = await rows_of(client)
        statuses = [
            (await client.delete(paths[kind])).status_code
            for kind in ("memory", "message", "key", "conversation")
        ]
        gone = await client.get(paths["conversation"])
        unknown = await client.get(f"/v1/conversations/{uuid4()}")

    assert statuses == [204, 204, 204, 204]
    assert (gone.status_code, unknown.status_code) == (404, 404)


async def test_one_may_take_along_all_that_is_ones_own(
    api: Api, ann: str, bob: str, database: Database, owner: User
) -> None:
    async with api.client(ann) as hers, api.client(bob) as his:
        await rows_of(hers)
        answer = await hers.get("/v1/me/export")
        other = await his.get("/v1/me/export")
    memory_only = await key_of(database, owner, [Scope.custom_lab_memory])
    async with api.client(memory_only) as client:
        refused = await client.get("/v1/me/export")
    async with connect(api.url, ann) as lab:
        taken = await lab.export()

    held, none = (ZipFile(BytesIO(content)) for content in (taken, other.content))
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="ann.zip"'
    assert ZipFile(BytesIO(answer.content)).namelist() == held.namelist()
    assert "Zamiko" in held.read("messages.jsonl").decode()
    assert none.read("messages.jsonl") == b""
    assert json.loads(none.read("users.jsonl"))["name"] == "bob"
    assert refused.status_code == 403


async def test_settings_are_ones_own(api: Api, ann: str, bob: str) -> None:
    async with api.client(ann) as hers, api.client(bob) as his:
        await hers.patch("/v1/config", json={"memory": {"top_k": 3}})
        (mine,) = (await hers.get("/v1/config", params={"key": "memory.top_k"})).json()
        (yours,) = (await his.get("/v1/config", params={"key": "memory.top_k"})).json()
        (reset,) = [
            setting
            for setting in (await hers.delete("/v1/config/memory.top_k")).json()
            if setting["key"] == "memory.top_k"
        ]
        wrong = await hers.patch("/v1/config", json={"memory": {"top_kk": 3}})

    assert (mine["value"], mine["layer"]) == (3, "user")
    assert yours["layer"] == reset["layer"] == "schema default"
    assert wrong.status_code == 400
    assert "Did you mean `memory.top_k`" in wrong.json()["error"]["message"]
