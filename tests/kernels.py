"""Run code in a kernel of a notebook server, over the same websocket as JupyterLab."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

TIMEOUT_S = 120


class Kernel:
    """A kernel to run code in."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def run(self, code: str) -> str:
        """Run the code; return what it printed, or fail with its traceback."""
        await self._socket.send(json.dumps(_request(code)))
        printed = ""
        while True:
            message = json.loads(await asyncio.wait_for(self._socket.recv(), TIMEOUT_S))
            kind, content = message["header"]["msg_type"], message["content"]
            if kind == "stream" and content["name"] == "stdout":
                printed += content["text"]
            assert kind != "error", "\n".join(content["traceback"])
            asked = message["parent_header"].get("msg_type")
            if asked == "execute_request" and content.get("execution_state") == "idle":
                return printed


@asynccontextmanager
async def open_kernel(url: str, user: str, token: str) -> AsyncIterator[Kernel]:
    """Start a kernel in a person's notebook server, which runs."""
    headers = {"Authorization": f"token {token}"}
    server = f"{url}/user/{user}"
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        started = await client.post(f"{server}/api/kernels", json={"name": "python3"})
        assert started.status_code == 201, started.text
        channels = f"{server}/api/kernels/{started.json()['id']}/channels".replace("http", "ws", 1)
        async with connect(channels, additional_headers=headers, max_size=None) as socket:
            yield Kernel(socket)
        await client.delete(f"{server}/api/kernels/{started.json()['id']}")


def _request(code: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "username": "test",
        "session": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "version": "5.3",
        "date": "",
    }
    content = {
        "code": code,
        "silent": False,
        "store_history": False,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "content": content,
        "channel": "shell",
        "buffers": [],
    }
