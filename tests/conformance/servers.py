"""Servers of others, as processes that end with the test."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

START_S = 120


@asynccontextmanager
async def running(command: list[str], ready: str) -> AsyncIterator[None]:
    """Run a server from its first answer to the end of the block."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (
        tempfile.TemporaryFile("w+") as said,
        subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process,
    ):
        try:
            async with asyncio.timeout(START_S):
                while not await answers(ready):
                    if process.poll() is not None:
                        said.seek(0)
                        pytest.fail(f"`{' '.join(command)}` ended: {said.read()[-1000:]}")
                    await asyncio.sleep(0.1)
            yield
        finally:
            process.kill()


async def answers(url: str) -> bool:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url)).is_success
        except httpx.TransportError:
            return False


def program(name: str) -> str:
    """Return a program beside the interpreter."""
    return str(Path(sys.executable).with_name(name))
