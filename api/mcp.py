"""The lab's own tools over MCP at `/mcp`: streamable HTTP, with the lab's tokens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from uuid import uuid4

import mcp_types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from api.deps import bearer, get_caller, get_runtime, require
from lab.runtime import Runtime
from lab.schemas.caller import Caller
from lab.schemas.scope import Scope as Right
from lab.schemas.tool_call import ToolCall

PATH = "/mcp"

Context = ServerRequestContext[dict[str, object], Request]


class McpEndpoint:
    """An ASGI app that lists and runs the tools that the caller may have; it keeps no sessions."""

    def __init__(self) -> None:
        server = Server(
            "llm-ml-lab",
            version=version("llm-ml-lab"),
            on_list_tools=_list_tools,
            on_call_tool=_call_tool,
        )
        self._sessions = StreamableHTTPSessionManager(server, json_response=True, stateless=True)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer within the block; in a task of its own, which opens and closes what it needs."""
        ready, over = asyncio.Event(), asyncio.Event()

        async def run() -> None:
            async with self._sessions.run():
                ready.set()
                await over.wait()

        task = asyncio.create_task(run(), name="mcp")
        await ready.wait()
        try:
            yield
        finally:
            over.set()
            await task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out who asks, and answer."""
        request = Request(scope, receive)
        caller = await get_caller(request, get_runtime(request), await bearer(request))
        require(Right.custom_lab_infer, caller)
        request.state.caller = caller
        await self._sessions.handle_request(scope, receive, send)


async def _list_tools(
    context: Context, params: mcp_types.PaginatedRequestParams | None
) -> mcp_types.ListToolsResult:
    runtime, caller = _asker(context)
    tools = await runtime.own_tools(caller.user, personal=_may_remember(caller))
    return mcp_types.ListToolsResult(
        tools=[
            mcp_types.Tool(
                name=name,
                description=tool.tool.description,
                input_schema={"type": "object", **tool.tool.parameters},
                annotations=mcp_types.ToolAnnotations(
                    read_only_hint=not tool.traits.changes, open_world_hint=tool.traits.foreign
                ),
            )
            for name, tool in tools.items()
        ]
    )


async def _call_tool(
    context: Context, params: mcp_types.CallToolRequestParams
) -> mcp_types.CallToolResult:
    runtime, caller = _asker(context)
    call = ToolCall(id=uuid4().hex, name=params.name, arguments=params.arguments or {})
    outcome = await runtime.call_tool(caller.user, call, personal=_may_remember(caller))
    content = mcp_types.TextContent(type="text", text=outcome.text)
    return mcp_types.CallToolResult(content=[content], is_error=outcome.failed)


def _asker(context: Context) -> tuple[Runtime, Caller]:
    """Return the lab, and who asks it, from the request that the endpoint let in."""
    assert context.request is not None, "it comes over HTTP"
    caller: Caller = context.request.state.caller
    return get_runtime(context.request), caller


def _may_remember(caller: Caller) -> bool:
    return Right.custom_lab_memory in caller.scopes
