"""A second door to an app, on this machine only and for as long as it is needed."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from lab.errors import ServiceError

LOOPBACK = "127.0.0.1"


class GuestServer(uvicorn.Server):
    """A server inside a program that has its own plans for signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the program."""
        yield


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """
    Serve an app that is already running, and yield its URL.

    Parameters
    ----------
    app : ASGIApp
        Its lifespan is left alone.
    port : int
        Where to listen; 0 takes any free one.

    Raises
    ------
    ServiceError
        If another program has the port.
    """
    try:
        listener = socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise ServiceError(
            f"Cannot listen on {LOOPBACK}:{port}: {error.strerror}. End the other program or "
            "choose another port."
        ) from None
    server = GuestServer(uvicorn.Config(app, lifespan="off", log_level="warning"))
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
