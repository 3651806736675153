"""
The API for one program: `python -m api.local`, started by `lab.local`.

Where a lab runs on the data folder already, it is that one's, so that models are loaded once. The
process writes one line of JSON to standard output, with address and key or with the reason why it
cannot start, and ends when its standard input closes.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from api.identity import LocalIdentity
from api.main import create_app
from lab.client.address import Address
from lab.config import Settings, load_settings
from lab.errors import LabError
from lab.evals.serving import serving
from lab.supervisor.running import running_lab


async def main() -> int:
    """Serve, or keep the key, until standard input closes; return the exit status."""
    try:
        async with entered(load_settings()) as address:
            say(url=address.url, token=address.token)
            await input_closed()
    except LabError as error:
        say(code=error.code, message=str(error))
        return 1
    return 0


@asynccontextmanager
async def entered(settings: Settings) -> AsyncIterator[Address]:
    """Yield the way into the lab that runs on the data folder, or into one of our own."""
    async with running_lab(settings) as found:
        if found:
            yield found
            return
    token = secrets.token_urlsafe(32)
    async with running(settings, token) as url:
        yield Address(url, token)


@asynccontextmanager
async def running(settings: Settings, token: str) -> AsyncIterator[str]:
    """Serve the app to whoever has the token, on a free port; yield its URL."""
    app = create_app(settings, LocalIdentity(settings.config.hub.admin, token), quiet=True)
    async with app.router.lifespan_context(app), serving(app) as url:
        yield url


async def input_closed() -> None:
    """Wait for the end of standard input."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def say(**values: str) -> None:
    """Tell the program that started this one."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
