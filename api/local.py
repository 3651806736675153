"""
The API for one program: `python -m api.local`, started by `lab.local`.

It writes one line of JSON to standard output, with its address and key or with the reason why it
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
from lab.config import load_settings
from lab.errors import LabError
from lab.evals.serving import serving


async def main() -> int:
    """Serve until standard input closes; return the exit status."""
    token = secrets.token_urlsafe(32)
    try:
        async with running(token) as url:
            say(url=url, token=token)
            await input_closed()
    except LabError as error:
        say(code=error.code, message=str(error))
        return 1
    return 0


@asynccontextmanager
async def running(token: str) -> AsyncIterator[str]:
    """Serve the app to whoever has the token, on a free port; yield its URL."""
    settings = load_settings()
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
