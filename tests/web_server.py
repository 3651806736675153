"""A web server of tests: answers as it is told to, and says what it was asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Write = Callable[[asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Write
"""A whole response, or what writes one."""


@dataclass
class WebServer:
    """
    A server that runs.

    Attributes
    ----------
    answers : dict
        By path; what has none is answered with 404.
    port : int
        Where it listens.
    asked : list of str
        The requests that came, each with its headers.
    """

    answers: dict[str, Answer]
    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """Return the address of a path."""
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(request)
            answer = self.answers.get(request.split()[1], response(b"", "text/plain", "404 None"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            writer.close()


@asynccontextmanager
async def web_server(
    answers: Mapping[str, Answer] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[WebServer]:
    """Run a server for the block."""
    web = WebServer(dict(answers or {}))
    server = await asyncio.start_server(web.serve, host, port, ssl=tls)
    web.port = server.sockets[0].getsockname()[1]
    try:
        yield web
    finally:
        server.close()


def response(
    body: bytes, kind: str | None = "text/plain", status: str = "200 OK", **headers: str
) -> bytes:
    """Return a response; `content_encoding` is the header `Content-Encoding`."""
    given = {"content_length": str(len(body)), "connection": "close", **headers}
    if kind is not None:
        given["content_type"] = kind
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode() + body


def redirect(to: str) -> bytes:
    """Return a response that sends to another address."""
    return response(b"", None, "302 Found", location=to)
