"""The database of some settings: the embedded server, or the one that a URL names."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from lab.config import Settings
from lab.db.database import Database
from lab.db.embedded import EmbeddedPostgres
from lab.db.migrations import upgrade


def embedded_server(settings: Settings) -> EmbeddedPostgres:
    """Return the embedded PostgreSQL of this data folder."""
    config = settings.config.database
    return EmbeddedPostgres(settings.data_folder / "postgres", config.port, config.os_user)


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """
    Open the migrated database; the embedded one is started when it does not run.

    Raises
    ------
    DatabaseError
        If it cannot be started, reached or migrated.
    """
    config = settings.config.database
    async with AsyncExitStack() as stack:
        if config.url is None:
            server = embedded_server(settings)
            await stack.enter_async_context(server.running())
            url = server.url()
        else:
            url = config.url.get_secret_value()
        await upgrade(url, connect_timeout_s=config.connect_timeout_s)
        yield await stack.enter_async_context(Database(config, url))
