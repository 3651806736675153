"""What the API answers to bad requests: one clear message and the right status."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lab.client import connect
from lab.db import Database
from lab.schemas.chat_message import ChatMessage
from lab.schemas.image_part import ImagePart
from lab.schemas.role import Role
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import Api, hello, key_of, running_api
from tests.tiny_llama import UNGUARDED, save_tiny_llama

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
TURNS = "/v1/turns"
UNANSWERED = {"role": "tool", "content": "09:30", "tool_call_id": ""}


def called(name: str) -> dict[str, Any]:
    """Return a message that calls a tool."""
    function = {"name": name, "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": "c", "function": function}]}


def schema(described: Any) -> dict[str, Any]:
    """Return the wish for an answer of a JSON Schema."""
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": described}}


def shown(kind: str, **about: str) -> dict[str, Any]:
    """Return a message with something else than text beside its text."""
    pieces = [{"type": "text", "text": "What is it?"}, {"type": kind, kind: about}]
    return {"role": "user", "content": pieces}


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (hello(model="lab-tinny"), 404, "Did you mean `lab-tiny`"),
        (hello(model="all-MiniLM-L6-v2"), 400, "cannot chat"),
        (hello("word " * 3000), 400, "the window holds 1024"),
        (hello("word " * 3000, stream=True), 400, "the window holds 1024"),
        (hello(temperature="hot"), 400, "`temperature`"),
        (hello(temperature=3), 400, "less than or equal to 2"),
        (hello(n=200), 400, "`n`"),
        (hello(n=0), 400, "`n`"),
        (hello(max_tokens=0), 400, "`max_tokens`"),
        (hello(response_format={"type": "yaml"}), 400, "`response_format.type`"),
        (hello(response_format={"type": "json_schema"}), 400, "`response_format` needs"),
        (hello(response_format=schema(False)), 400, "the schema is false"),
        (hello(response_format=schema({"uniqueItems": True})), 400, "`uniqueItems` at #"),
        (hello(frequency_penalty=2.5), 400, "`frequency_penalty`: Input should be less than"),
        (hello(top_logprobs=3), 400, "`top_logprobs` needs `logprobs`: true"),
        (hello(logprobs=True, top_logprobs=21), 400, "`top_logprobs`"),
        (hello(logit_bias={"9999": 1}), 400, "`logit_bias` names '9999', and the tokens of"),
        (hello(logit_bias={"3": 101}), 400, "`logit_bias"),
        (hello(tool_choice="required"), 400, "wants a tool called, and the tools given are: none"),
        (hello(tool_choice="maybe"), 400, "`tool_choice` must be"),
        (hello(tool_choice={"type": "function"}), 400, "`tool_choice` must be"),
        (hello(flavour="mint"), 400, "`flavour`"),
        (hello() | {"messages": []}, 400, "`messages`"),
        (hello() | {"messages": [{"role": "system"}]}, 400, "nothing to answer"),
        (hello() | {"messages": [{"role": "user", "content": 5}]}, 400, "messages.0.content"),
        (hello() | {"messages": [shown("image_url", url="data:image/png,")]}, 400, "data URI"),
        (hello() | {"messages": [shown("input_audio", data="")]}, 400, "cannot take"),
        (hello() | {"messages": [shown("file", file_id="7")]}, 400, "POST /v1/documents"),
        (hello(conversation_id="7"), 400, "conversation_id"),
        (hello(stop=["x"] * 17), 400, "`stop"),
        (hello() | {"messages": [called("")]}, 400, "messages.0.tool_calls.0.function.name"),
    ],
)
async def test_a_bad_chat_request_is_refused(
    api: Api, ann: str, body: dict[str, Any], status: int, says: str
) -> None:
    async with api.client(ann) as client:
        response = await client.post(CHAT, json=body)

    error = response.json()["error"]
    assert response.status_code == status
    assert says in error["message"]
    assert error.keys() == {"message", "type", "param", "code"}


async def test_a_chat_with_a_picture_is_refused_to_a_model_that_reads_text(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        chat = await stores.conversations.create("chat")
        file = await stores.files.add(b"\x89PNG\r\n\x1a\n", "image/png")
        await stores.messages.add(chat.id, Role.user, [ImagePart(file_id=file.id)])
    async with api.client(ann) as client:
        response = await client.post(CHAT, json=hello(conversation_id=str(chat.id)))
        listed = await client.get(f"/v1/conversations/{chat.id}/messages")

    assert response.status_code == 400
    assert "Message 0 of this conversation holds a part of type `image`" in response.text
    assert listed.json()[0]["parts"] == [{"type": "image", "file_id": str(file.id)}]


async def test_a_turn_that_is_refused_is_no_stream(api: Api, ann: str) -> None:
    turn = {"messages": [{"role": "user", "content": "word " * 3000}]}
    async with api.client(ann) as client:
        response = await client.post(TURNS, json=turn)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


@pytest.fixture
async def narrow_api(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Return a server that generates one endless answer at a time and lets nobody wait."""
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path / "data"),
        "LAB_CHAT_MODEL": str(save_tiny_llama(tmp_path / "endless", 16_384)),
        "LAB_CHAT_MAX_STREAMS": "1",
        "LAB_CHAT_MAX_QUEUE": "0",
        **UNGUARDED,
    }
    async with running_api(database_url, **variables) as api:
        yield api


async def test_a_full_queue_is_429_with_a_time_to_come_back(narrow_api: Api, ann: str) -> None:
    asked = hello(model="default")
    turn = {"profile": "default", "messages": asked["messages"]}
    bodies = ((CHAT, asked), (CHAT, asked | {"stream": True}), (TURNS, turn))
    async with narrow_api.client(ann) as client:
        asking = asyncio.create_task(client.post(CHAT, json=asked | {"max_tokens": 8000}))
        async with asyncio.timeout(60):
            while not narrow_api.load().active_streams:
                await asyncio.sleep(0.01)
        refused = [await client.post(path, json=body) for path, body in bodies]
        asking.cancel()
        await asyncio.wait([asking])
        await narrow_api.until_idle()

    assert [answer.status_code for answer in refused] == [429] * 3
    assert [answer.headers["Retry-After"] for answer in refused] == ["1"] * 3


async def test_what_changes_nothing_is_accepted(api: Api, ann: str) -> None:
    body = hello(user="u", metadata={"a": "b"}, n=1, presence_penalty=0, tool_choice="auto")
    body["response_format"] = {"type": "text"}
    async with api.client(ann) as client:
        response = await client.post(CHAT, json=body)

    assert response.status_code == 200


async def test_a_tool_result_names_its_call(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        conversation = (await client.post("/v1/conversations", json={})).json()["id"]
        path = f"/v1/conversations/{conversation}/messages"
        stored = await client.post(path, json={"messages": [UNANSWERED]})
        asked = await client.post(TURNS, json={"messages": [UNANSWERED]})

    assert (stored.status_code, asked.status_code) == (400, 400)
    assert "tool_call_id" in stored.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, rb'{"model": "lab-tiny", "messages": [{"role": "user", "content": "a \ud800 b"}]}'),
        ("/v1/embeddings", rb'{"model": "all-MiniLM-L6-v2", "input": "a \uDFFF b"}'),
        ("/v1/embeddings", b'{"model": "all-MiniLM-L6-v2", "input": "a \xed\xa0\x80 b"}'),
    ],
)
async def test_half_a_character_is_refused(api: Api, ann: str, path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with api.client(ann) as client:
        half = await client.post(path, content=body, headers=headers)
        pair = rb'{"model": "all-MiniLM-L6-v2", "input": "a \ud83d\ude00 b"}'
        whole = await client.post("/v1/embeddings", content=pair, headers=headers)

    assert half.status_code == 400
    assert "half of a surrogate pair" in half.json()["error"]["message"]
    assert whole.status_code == 200


async def test_invalid_json_says_where(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        response = await client.post(
            CHAT, content=b'{"model": ', headers={"Content-Type": "application/json"}
        )

    assert response.status_code == 400
    assert "not valid JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize("key", [None, "sk-foreign", "lab_foreign"])
async def test_a_missing_or_foreign_token_is_401(api: Api, key: str | None) -> None:
    async with api.client(key) as client:
        response = await client.get("/v1/models")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "authentication_error"


async def test_a_key_without_the_scope_is_403(api: Api, database: Database, owner: User) -> None:
    key = await key_of(database, owner, [Scope.custom_lab_infer])
    async with api.client(key) as client:
        chat = await client.post(CHAT, json=hello())
        conversations = await client.get("/v1/conversations")
        new_key = await client.post("/v1/keys", json={"name": "x"})

    assert chat.status_code == 200
    assert (conversations.status_code, new_key.status_code) == (403, 403)
    assert "custom:lab:memory" in conversations.json()["error"]["message"]


@pytest.mark.parametrize("lacks", [Scope.custom_lab_infer, Scope.custom_lab_memory])
async def test_a_title_takes_a_key_that_may_read_the_chat_and_ask_models(
    api: Api, ann: str, database: Database, owner: User, lacks: Scope
) -> None:
    key = await key_of(database, owner, [scope for scope in Scope if scope is not lacks])
    async with connect(api.url, ann) as lab:
        chat = await lab.conversations.create("Named")
        await lab.conversations.add(chat.id, [ChatMessage(role=Role.user, content="Hello.")])
    async with api.client(key) as client:
        refused = await client.post(f"/v1/conversations/{chat.id}/title")
    async with connect(api.url, ann) as lab:
        title = (await lab.conversations.get(chat.id)).title
        used = await lab.usage()

    assert refused.status_code == 403
    assert lacks.value in refused.json()["error"]["message"]
    assert (title, used) == ("Named", [])


@pytest.mark.parametrize(("scopes", "status"), [(None, 401), ([], 403)])
async def test_every_route_but_the_public_ones_asks_who_it_is_and_what_they_may(
    api: Api, database: Database, owner: User, scopes: list[Scope] | None, status: int
) -> None:
    key = None if scopes is None else await key_of(database, owner, scopes)
    turn = {"messages": hello()["messages"]}
    bodies = {CHAT: hello(), TURNS: turn, f"{TURNS}/window": {"turn": turn}}
    bodies["/v1/research"] = {"question": "Why?"}
    run = {"input": {"messages": [{"role": "user", "content": "Hello."}]}}
    for runs in ("/v1/runs", "/v1/threads/{thread_id}/runs"):
        bodies |= dict.fromkeys((runs, f"{runs}/wait", f"{runs}/stream"), run)
    answers: dict[str, int] = {}
    async with api.client(key) as client:
        for path, operations in (await client.get("/openapi.json")).json()["paths"].items():
            for method in operations:
                url = re.sub("{.*?}", str(owner.id), path)
                answer = await client.request(method, url, json=bodies.get(path))
                answers[f"{method} {path}"] = answer.status_code

    public = {"get /healthz", "get /readyz", "get /metrics"}
    allowed = public if scopes is None else public | {"get /v1/me"}
    assert {name for name, code in answers.items() if code != status} == allowed


async def test_only_administrators_see_everybody(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    admin = await key_of(database, owner, [Scope.custom_lab_admin])
    async with api.client(ann) as person, api.client(admin) as administrator:
        refused = await person.get("/v1/users")
        users = await administrator.get("/v1/users")
        not_hers = await administrator.get("/v1/memories")

    assert (refused.status_code, not_hers.status_code) == (403, 403)
    assert "custom:lab:admin" in refused.json()["error"]["message"]
    assert [user["name"] for user in users.json()] == ["ann"]


@pytest.mark.parametrize("id_", ["7", "not-a-uuid"])
async def test_an_id_that_is_no_uuid_says_so(api: Api, ann: str, id_: str) -> None:
    async with api.client(ann) as client:
        answer = await client.get(f"/v1/conversations/{id_}")

    assert answer.status_code == 400
    assert "`conversation_id`" in answer.json()["error"]["message"]
    assert "UUID" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("name", "status"), [("", 200), ("Ann", 200), ("a" * 201, 400)])
async def test_a_speaker_may_have_no_name_and_not_an_endless_one(
    api: Api, ann: str, name: str, status: int
) -> None:
    said = {"role": "user", "content": "Hello.", "name": name}
    async with api.client(ann) as client:
        answer = await client.post(
            CHAT, json={"model": "lab-tiny", "messages": [said], "max_tokens": 2}
        )

    assert answer.status_code == status
    assert status == 200 or "name" in answer.json()["error"]["message"]


async def test_unknown_routes_and_methods_are_named(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        route = await client.get("/v1/nothing")
        method = await client.put("/v1/models")

    assert (route.status_code, method.status_code) == (404, 405)
    assert "/v1/nothing" in route.json()["error"]["message"]
    assert method.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_413(api: Api, ann: str, chunked: bool) -> None:
    size = api.app.state.settings.config.limits.max_body_bytes + 1

    async def pieces() -> Any:
        for _ in range(size // 65536 + 1):
            yield b"x" * 65536

    async with api.client(ann) as client:
        content = pieces() if chunked else b"x" * size
        response = await client.post(CHAT, content=content)

    assert response.status_code == 413
    assert "max_body_bytes" in response.json()["error"]["message"]


async def test_every_answer_has_a_request_id(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        first, second = await client.get("/healthz"), await client.get("/v1/nothing")

    assert first.headers["x-request-id"] != second.headers["x-request-id"]


async def test_metrics_count_requests_and_tokens(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        await client.post(CHAT, json=hello())
        text = (await client.get("/metrics")).text

    assert 'method="POST",route="/v1/chat/completions",status="200"' in text
    assert 'lab_http_request_seconds_bucket{le="0.5",route="/v1/chat/completions"}' in text
    for name in (
        *("lab_active_streams", "lab_queued_requests", "lab_models_loaded", "lab_model_leases"),
        *("lab_prompt_tokens_total", "lab_generated_tokens_total"),
    ):
        assert name in text


async def test_the_document_lists_every_route(api: Api) -> None:
    async with api.client(None) as client:
        document = (await client.get("/openapi.json")).json()

    assert {CHAT, "/v1/embeddings", "/v1/runs/{run_id}/receipt"} <= document["paths"].keys()
    assert json.dumps(document)
