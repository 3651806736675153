"""The proxy in front of the lab."""

import asyncio
import os
from collections.abc import AsyncIterator

import httpx
import pytest

from lab.config import load_settings
from lab.supervisor.proxy import proxy_command
from tests.ports import free_ports

pytestmark = pytest.mark.integration

PART = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf \r\n"


async def answer_in_part(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer and break off, as a process does that is killed."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(PART)
    await writer.drain()
    writer.transport.abort()


@pytest.fixture
async def proxy_url() -> AsyncIterator[str]:
    """Run the proxy before a server that breaks off; yield its address."""
    port, api_port, hub_port = free_ports(3)
    settings = load_settings(
        environ={
            "LAB_SERVER_PORT": str(port),
            "LAB_SERVER_PROXY_API_PORT": str(api_port),
            "LAB_SERVER_HUB_PORT": str(hub_port),
        }
    )
    environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": "secret"}
    async with await asyncio.start_server(answer_in_part, "127.0.0.1", hub_port):
        proxy = await asyncio.create_subprocess_exec(*proxy_command(settings), env=environment)
        try:
            await until_listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            proxy.terminate()
            await proxy.wait()


async def until_listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return


async def test_an_answer_that_breaks_off_behind_the_proxy_breaks_off_before_it(
    proxy_url: str,
) -> None:
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(proxy_url)
