"""The hosts of a web on loopback."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

HTML = "text/html; charset=utf-8"


class Asked(NamedTuple):
    """A request that a host got."""

    path: str
    """With its query."""
    headers: Message
    body: bytes
    at: float
    """Seconds of a clock that rises."""
    method: str = "GET"


@dataclass(frozen=True)
class Page:
    """What a host answers."""

    body: str | bytes
    media_type: str | None = HTML
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else self.body


Handler = BaseHTTPRequestHandler
Answer = Page | Callable[[Asked, Handler], Page | None]
"""A page, or what makes one from a request; it returns None when it wrote the answer itself."""


class Site:
    """
    One host.

    Parameters
    ----------
    answers : mapping
        By path; a path that ends in `*` stands for all that begin so.
    """

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self.answers = dict(answers)
        self.asked: list[Asked] = []
        self.address = ""

    def url(self, path: str = "/") -> str:
        """Return the address of a path."""
        return f"http://{self.address}{path}"

    def paths(self) -> list[str]:
        """Return what was asked for, in order."""
        return [asked.path for asked in self.asked]

    def answer(self, asked: Asked, handler: Handler) -> Page | None:
        """Return the page of a request; None where the answer is written already."""
        found = self._found(urlsplit(asked.path).path)
        return found if isinstance(found, Page) else found(asked, handler)

    def _found(self, path: str) -> Answer:
        if path in self.answers:
            return self.answers[path]
        for pattern, answer in self.answers.items():
            if pattern.endswith("*") and path.startswith(pattern[:-1]):
                return answer
        return Page("<p>There is no such page here.</p>", status=404)


class LocalWeb:
    """Sites on 127.0.0.1, 127.0.0.2, … as long as the block lasts."""

    def __init__(self, *sites: Site) -> None:
        self.sites = sites
        self._stack = ExitStack()

    @property
    def allowed(self) -> list[str]:
        """What `web.allowed` has to hold."""
        return [site.address for site in self.sites]

    def __enter__(self) -> Self:
        for number, site in enumerate(self.sites, 1):
            self._stack.enter_context(_Running(site, f"127.0.0.{number}"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a page without an end is still being sent

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: those who ask may hang up."""


class _Running:
    def __init__(self, site: Site, host: str) -> None:
        self._server = _Server((host, 0), _handler(site))
        site.address = f"{host}:{self._server.server_port}"

    def __enter__(self) -> None:
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class SiteHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                self.path,
                self.headers,
                self.rfile.read(length),
                time.monotonic(),
                self.command,
            )
            site.asked.append(asked)
            with suppress(ConnectionError):  # whoever asked has heard enough
                if (page := site.answer(asked, self)) is not None:
                    self._send(page)

        do_POST = do_GET

        def _send(self, page: Page) -> None:
            self.send_response(page.status)
            if page.media_type is not None:
                self.send_header("Content-Type", page.media_type)
            self.send_header("Content-Length", str(len(page.content)))
            for name, value in page.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(page.content)

        def log_message(self, *_: Any) -> None:
            pass

    return SiteHandler


def endless(asked: Asked, handler: Handler) -> None:
    """Answer with a page that never ends."""
    _begin(handler)
    while True:
        handler.wfile.write(b"<p>" + b"And so on, and so on. " * 500)


def dripping(asked: Asked, handler: Handler) -> None:
    """Answer a few bytes at a time, so that no single wait is long."""
    _begin(handler)
    while True:
        handler.wfile.write(b"<p>a")
        handler.wfile.flush()
        time.sleep(0.05)


def silent(asked: Asked, handler: Handler) -> None:
    """Take a request and say nothing."""
    time.sleep(5)


def broken_off(asked: Asked, handler: Handler) -> None:
    """Promise more than is sent."""
    handler.send_response(200)
    handler.send_header("Content-Type", HTML)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"<p>This page breaks off")
    handler.close_connection = True


def _begin(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", HTML)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
