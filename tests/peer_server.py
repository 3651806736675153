"""
A server on a real port that answers as a test says: whole, broken, late, or not at all.

A `conftest.py` or test that imports the fixture gives it to its tests.

peer   a server without a plan; give it `answers`, look at its `requests`
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

__all__ = [
    "Asked",
    "Peer",
    "Reply",
    "calling",
    "chunk",
    "peer",
    "running_peer",
    "said",
    "stream_of",
]


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Reply:
    """
    What a server sends back.

    `breaks` hangs up before the end that the headers promise; `before` is awaited before anything
    is sent, `between` after each piece.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[str | bytes] = field(default_factory=list)
    breaks: bool = False
    before: Callable[[], Awaitable[None]] | None = None
    between: Callable[[], Awaitable[None]] | None = None


@dataclass
class Peer:
    """A running server; each request takes the next answer of its path, the last one stays."""

    url: str = ""
    answers: dict[str, list[Reply]] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            asked = await _read(reader)
            self.requests.append(asked)
            waiting = self.answers.get(asked.path, [Reply(404, pieces=['{"error": "No."}'])])
            await self._send(writer, waiting.pop(0) if len(waiting) > 1 else waiting[0])
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            with suppress(ConnectionError):
                writer.close()
                await writer.wait_closed()

    async def _send(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        if reply.before:
            await reply.before()
        if reply.status == 0:  # hangs up without a word
            return
        headers = {"Connection": "close", "Transfer-Encoding": "chunked", **reply.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} Said\r\n{head}\r\n".encode())
        for piece in reply.pieces:
            data = piece.encode() if isinstance(piece, str) else piece
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            await writer.drain()
            if reply.between:
                await reply.between()
        if not reply.breaks:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {n.lower(): v.strip() for n, v in (line.split(":", 1) for line in lines)}
    length = int(headers.get("content-length", 0))
    body = json.loads(await reader.readexactly(length)) if length else None
    return Asked(method, path, headers, body)


@asynccontextmanager
async def running_peer() -> AsyncIterator[Peer]:
    peer, tasks, writers = Peer(), set[asyncio.Task[None]](), set[asyncio.StreamWriter]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        task = asyncio.create_task(peer.answer(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:  # a task that is cancelled before it began closes nothing
            writer.transport.abort()
        await server.wait_closed()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with running_peer() as running:
        yield running


def chunk(delta: dict[str, Any] | None = None, **more: Any) -> str:
    """Return an event with a piece of a completion; `more` belongs to its choice."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": None, **more}
    return event({"object": "chat.completion.chunk", "choices": [choice]})


def event(data: object) -> str:
    return f"data: {json.dumps(data)}\n\n"


def usage(prompt_tokens: int, completion_tokens: int) -> str:
    """Return the event that tells the usage."""
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return event({"choices": [], "usage": counts})


def stream_of(*pieces: str, **reply: Any) -> Reply:
    """Return a stream of events."""
    return Reply(headers={"Content-Type": "text/event-stream"}, pieces=list(pieces), **reply)


def said(text: str, n_prompt: int = 5, n_written: int = 2) -> Reply:
    """Return a whole answer with a text."""
    pieces = [chunk({"content": text}), chunk(finish_reason="stop"), usage(n_prompt, n_written)]
    return stream_of(*pieces, "data: [DONE]\n\n")


def calling(*calls: tuple[str, Mapping[str, Any]], text: str = "") -> Reply:
    """Return an answer that calls tools."""
    pieces = [
        chunk(
            {
                "tool_calls": [
                    {
                        "index": i,
                        "id": f"call-{i}-{name}",
                        "type": "function",
                        "function": {"name": name, "arguments": json.dumps(arguments)},
                    }
                ]
            }
        )
        for i, (name, arguments) in enumerate(calls)
    ]
    before = [chunk({"content": text})] if text else []
    return stream_of(*before, *pieces, chunk(finish_reason="tool_calls"), usage(20, 5))
