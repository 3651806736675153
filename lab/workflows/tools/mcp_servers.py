"""Tools of other servers, over MCP (streamable HTTP)."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import httpx2
import mcp_types
import structlog
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError

from lab.errors import InputError, ServiceError, cut
from lab.schemas.mcp_server import McpServer
from lab.schemas.tool import Tool
from lab.texts import clean
from lab.workflows.foreign_schemas import plain_parameters
from lab.workflows.tools.tool import Arguments, LabTool, ToolContext, Traits

LISTED_S: Final = 60.0
"""Seconds for which a list of tools holds, and after which a server that is away is asked again."""
MOST_PAGES: Final = 20
MOST_DESCRIPTION: Final = 1000
"""Characters of a description that the model is told."""

log = structlog.get_logger(__name__)


@dataclass
class _Listed:
    tools: Sequence[LabTool] = ()
    ends: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class McpServers:
    """
    The tools of the servers that the operator configured, the same for everybody.

    Parameters
    ----------
    servers : sequence of McpServer
        Where they are.
    """

    def __init__(self, servers: Sequence[McpServer]) -> None:
        self._servers = {server.name: server for server in servers}
        self._listed = {name: _Listed() for name in self._servers}

    async def tools(self, owner_id: UUID) -> Sequence[LabTool]:
        """Return the tools of all servers; of one that is away, those that it had last."""
        found = await asyncio.gather(*map(self._of, self._servers.values()))
        return [tool for tools in found for tool in tools]

    async def _of(self, server: McpServer) -> Sequence[LabTool]:
        listed = self._listed[server.name]
        async with listed.lock:
            if listed.ends <= time.monotonic():
                try:
                    listed.tools = await _list(server)
                except (ServiceError, TimeoutError) as error:
                    why = str(error) or "it took too long"
                    log.warning("no list of tools", server=server.name, error=why)
                listed.ends = time.monotonic() + LISTED_S
        return listed.tools


class McpTool:
    """
    A tool of another server.

    Parameters
    ----------
    server : McpServer
        Which.
    theirs : Tool of MCP
        As the server describes it.

    Raises
    ------
    ValidationError
        If its name is none here.
    InputError
        If its schema cannot be used.
    """

    def __init__(self, server: McpServer, theirs: mcp_types.Tool) -> None:
        self.tool = Tool(
            name=f"{server.name}_{theirs.name}",
            description=cut(clean(theirs.description or theirs.title or ""), MOST_DESCRIPTION),
            parameters=plain_parameters(theirs.input_schema),
        )
        hints = theirs.annotations
        changes = not (hints and hints.read_only_hint)  # by default a tool changes something
        self.traits = Traits(changes=changes, foreign=True)
        self._server = server
        self._name = theirs.name

    async def call(self, arguments: Arguments, context: ToolContext) -> str:
        """Return what the server answers, as text."""
        timeout_s = context.settings.config.tools.timeout_s
        async with _connected(self._server, timeout_s) as client:
            result = await client.call_tool(self._name, dict(arguments))
        text = "\n".join(map(_text, result.content))
        if result.is_error:
            raise InputError(text or f"`{self.tool.name}` failed without a word.")
        return text


async def _list(server: McpServer) -> Sequence[LabTool]:
    tools: list[LabTool] = []
    cursor: str | None = None
    async with asyncio.timeout(server.timeout_s), _connected(server, server.timeout_s) as client:
        for _ in range(MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            tools += [tool for theirs in page.tools if (tool := _tool(server, theirs))]
            if (cursor := page.next_cursor) is None:
                break
    return tools


def _tool(server: McpServer, theirs: mcp_types.Tool) -> LabTool | None:
    try:
        return McpTool(server, theirs)
    except ValidationError:
        log.warning("no name for a tool here", server=server.name, tool=cut(theirs.name))
    except InputError as error:
        log.warning("no tool to call", server=server.name, tool=cut(theirs.name), why=str(error))
    return None


@asynccontextmanager
async def _connected(server: McpServer, read_s: float) -> AsyncIterator[Client]:
    """
    Connect to a server.

    Raises
    ------
    ServiceError
        If it does not answer, or not as it should.
    """
    headers = {"Authorization": f"Bearer {server.key.get_secret_value()}"} if server.key else {}
    timeout = httpx2.Timeout(server.timeout_s, read=read_s)
    try:
        async with (
            httpx2.AsyncClient(headers=headers, timeout=timeout) as http,
            Client(streamable_http_client(server.url, http_client=http)) as client,
        ):
            yield client
    except Exception as error:
        raise ServiceError(
            f"The MCP server `{server.name}` does not answer as it should: {_why(error)}."
        ) from error


def _why(error: BaseException) -> str:
    """Return the first of the errors that a group of them holds, which is all that people need."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return cut(str(error).rstrip(".") or type(error).__name__, 200)


def _text(piece: Any) -> str:
    """Return a piece of a result as text; what is none is named."""
    if isinstance(piece, mcp_types.TextContent):
        return piece.text
    return f"({piece.type}, which cannot be shown)"
