"""The lab's tools over MCP, and tools of other servers in a chat, with the official client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import mcp_types
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lab.client import connect
from lab.db import Database
from lab.evals.serving import serving
from lab.schemas.user import User
from tests.api_server import USER_SCOPES, Api, ann, bob, key_of, running_api
from tests.integration.test_tools import CHAT, MODEL, enabled
from tests.peer_server import Reply, calling, running_peer, said

__all__ = ["ann", "bob"]

pytestmark = pytest.mark.integration

KEY = "key-of-the-operator"


async def _list(context: Any, params: Any) -> mcp_types.ListToolsResult:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    }
    text = schema["properties"]["text"]
    texts = {
        **dict.fromkeys(("shout", "fail", "look", "bad name!"), text),
        "slow": {**text, "pattern": "^(a+)+$"},
        "leads_away": {"$ref": "http://127.0.0.1:9/schema"},
    }
    hints = mcp_types.ToolAnnotations(read_only_hint=True)
    return mcp_types.ListToolsResult(
        tools=[
            mcp_types.Tool(
                name=name,
                description=f"To {name}.",
                input_schema={**schema, "properties": {"text": text}},
                annotations=hints if name != "shout" else None,
            )
            for name, text in texts.items()
        ]
    )


async def _call(context: Any, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
    text = "\x00" + (params.arguments or {})["text"].upper()
    fails = params.name == "fail"
    content = mcp_types.TextContent(type="text", text="It broke." if fails else text)
    return mcp_types.CallToolResult(content=[content], is_error=fails)


def guarded(app: ASGIApp) -> ASGIApp:
    """Return an app that wants a key."""

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if Request(scope).headers.get("authorization") != f"Bearer {KEY}":
            return await Response(status_code=401)(scope, receive, send)
        await app(scope, receive, send)

    return checked


@asynccontextmanager
async def other_server() -> AsyncIterator[str]:
    """Yield the address of another MCP server, which runs in a task of its own."""
    app = Server("other", on_list_tools=_list, on_call_tool=_call).streamable_http_app()
    ready, over = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        async with app.router.lifespan_context(app):
            ready.set()
            await over.wait()

    task = asyncio.create_task(run())
    await ready.wait()
    async with serving(guarded(app)) as url:
        yield f"{url}/mcp"
    over.set()
    await task


@pytest.fixture(scope="module")
async def api_with_mcp(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Api, Any]]:
    folder: Path = tmp_path_factory.mktemp("mcp")
    async with running_peer() as peer, other_server() as url:
        cards = [{"id": "big", "max_model_len": 4096}]
        peer.answers["/v1/models"] = [Reply(pieces=[json.dumps({"data": cards})])]
        endpoint = {"name": "there", "url": f"{peer.url}/v1", "kind": "vllm", "retries": 0}
        servers = [
            {"name": "other", "url": url, "key": KEY},
            {"name": "away", "url": "http://127.0.0.1:9/mcp", "timeout_s": 1},
        ]
        variables = {
            "LAB_DATA_FOLDER": str(folder),
            "LAB_REMOTES_ENDPOINTS": json.dumps([endpoint]),
            "LAB_CHAT_MODEL": MODEL,
            "LAB_MCP_SERVERS": json.dumps(servers),
        }
        async with running_api(database_url, **variables) as api:
            yield api, peer


@asynccontextmanager
async def client_of(api: Api, key: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as http,
        Client(streamable_http_client(f"{api.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def text_of(client: Client, name: str, **arguments: Any) -> tuple[str, bool]:
    result = await client.call_tool(name, arguments)
    [content] = result.content
    assert isinstance(content, mcp_types.TextContent)
    return content.text, bool(result.is_error)


async def test_programs_use_the_labs_own_tools(
    api_with_mcp: tuple[Api, Any], database: Database, owner: User, ann: str, bob: str
) -> None:
    api, _ = api_with_mcp
    async with client_of(api, ann) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert await text_of(client, "calculator", expression="6 * 7") == ("42", False)
        assert await text_of(client, "todos", action="add", text="Buy milk.") == (
            "[ ] Buy milk.",
            False,
        )
        wrong, failed = await text_of(client, "calculator", sum="6 * 7")
        found = await text_of(client, "search_memory", query="Where do I live?")
    assert {"calculator", "todos", "search_memory"} <= tools.keys()
    assert not any(name.startswith("other_") for name in tools)
    assert tools["calculator"].input_schema["required"] == ["expression"]
    assert failed
    assert "cannot be called so" in wrong

    assert found == ("Nothing was found.", False)

    async with client_of(api, bob) as client:
        assert await text_of(client, "todos", action="list") == ("There are no todos.", False)

    narrow = await key_of(database, owner, USER_SCOPES[:1])
    async with client_of(api, narrow) as client:
        assert "todos" not in {tool.name for tool in (await client.list_tools()).tools}
        assert (await text_of(client, "todos", action="list"))[1]


async def test_a_stranger_is_refused(api_with_mcp: tuple[Api, Any], database: Database) -> None:
    api, _ = api_with_mcp
    async with api.client("lab_wrong") as client:
        response = await client.post("/mcp", json={})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    with pytest.raises((ExceptionGroup, MCPError, httpx2.HTTPError)):
        async with client_of(api, "lab_wrong"):
            pass


async def test_a_model_uses_tools_of_other_servers(
    api_with_mcp: tuple[Api, Any], database: Database, ann: str
) -> None:
    api, peer = api_with_mcp
    calls = [("other_shout", {"text": "hello"}), ("other_fail", {"text": "x"}), ("other_shout", {})]
    peer.answers[CHAT] = [calling(*calls), said("HELLO.")]
    async with connect(api.url, token=ann) as lab:
        answer = await lab.chat("Shout.", settings=enabled("other_shout", "other_fail"))
        known = {tool.name for tool in await lab.tools.list()}
        [servers] = await lab.config.explain("mcp.servers")

    texts = [use.text for use in sorted(answer.tool_uses, key=lambda use: use.call.id)]
    assert texts[:2] == ["HELLO", "Error: It broke."]
    assert "'text' is a required property" in texts[2]
    assert {"other_shout", "other_fail", "calculator"} <= known
    assert "other_bad name!" not in known
    assert KEY not in str(servers.value)


async def test_what_a_server_does_not_call_harmless_does_not_run_after_text_from_outside(
    api_with_mcp: tuple[Api, Any], ann: str
) -> None:
    api, peer = api_with_mcp
    calls = [("other_shout", {"text": "b"}), ("other_look", {"text": "c"})]
    peer.answers[CHAT] = [calling(("other_look", {"text": "a"})), calling(*calls), said("So.")]
    async with connect(api.url, token=ann) as lab:
        answer = await lab.chat("Look.", settings=enabled("other_shout", "other_look"))

    looked, shouted, again = (use.text for use in answer.tool_uses)
    assert (looked, again) == ("A", "C")
    assert "read text from outside" in shouted


async def test_schemas_of_other_servers_lead_nowhere_and_take_no_time(
    api_with_mcp: tuple[Api, Any], ann: str
) -> None:
    api, peer = api_with_mcp
    peer.answers[CHAT] = [calling(("other_slow", {"text": "a" * 100 + "b"})), said("So.")]
    async with connect(api.url, token=ann) as lab:
        known = {tool.name for tool in await lab.tools.list()}
        async with asyncio.timeout(10):
            answer = await lab.chat("Go.", settings=enabled("other_slow"))

    assert [use.text for use in answer.tool_uses] == ["A" * 100 + "B"]
    assert "other_leads_away" not in known


async def test_a_tool_that_needs_no_model_works_where_the_models_name_is_wrong(
    api_with_mcp: tuple[Api, Any], ann: str
) -> None:
    api, _ = api_with_mcp
    async with connect(api.url, token=ann) as lab, client_of(api, ann) as client:
        await lab.config.set("roles.primary", "nobody")
        counted = await text_of(client, "calculator", expression="6 * 7")
        wrong, failed = await text_of(client, "summarise", text="Ann lives in Oslo.")
        await lab.config.reset("roles.primary")

    assert counted == ("42", False)
    assert failed
    assert "nobody" in wrong
