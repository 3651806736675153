"""The lab's database, for commands that work on it directly."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from lab.config import load_settings
from lab.db import Database, upgrade
from lab.supervisor.processes import embedded_server


@asynccontextmanager
async def open_database() -> AsyncIterator[Database]:
    """
    Open the database of these settings; the embedded one is started when it does not run.

    Raises
    ------
    DatabaseError
        If it does not answer.
    """
    settings = load_settings()
    config = settings.config.database
    async with AsyncExitStack() as stack:
        if config.url is None:
            server = await stack.enter_async_context(embedded_server(settings).running())
            url = server.url()
        else:
            url = config.url.get_secret_value()
        await upgrade(url, connect_timeout_s=config.connect_timeout_s)
        yield await stack.enter_async_context(Database(config, url))
