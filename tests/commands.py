"""The command line against a server of a test."""

import asyncio
import os

from tests.api_server import Api
from tests.stack import LAB


async def command(api: Api, key: str, *arguments: str) -> tuple[int, str]:
    """Run `lab`; return its exit code and what it wrote."""
    process = await start(api, key, *arguments)
    written, errors = await process.communicate()
    return process.returncode or 0, written.decode() + errors.decode()


async def start(api: Api, key: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start `lab`, which Ctrl-C reaches as in a terminal."""
    return await asyncio.create_subprocess_exec(
        # A shell starts what runs in the background with SIGINT ignored.
        *("env", "--default-signal=INT", LAB),
        *arguments,
        env=os.environ | {"LAB_API_URL": api.url, "LAB_API_KEY": key, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
