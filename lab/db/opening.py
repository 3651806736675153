"""The database of some settings: the embedded server, or the one that a URL names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lab.config import Settings
from lab.db.connection import place
from lab.db.database import Database
from lab.db.embedded import EmbeddedPostgres
from lab.db.failures import translated
from lab.db.migrations import upgrade


def embedded_server(settings: Settings) -> EmbeddedPostgres:
    """Return the embedded PostgreSQL of this data folder."""
    config = settings.config.database
    return EmbeddedPostgres(settings.data_folder / "postgres", config.port, config.os_user)


@asynccontextmanager
async def running_database(settings: Settings) -> AsyncIterator[str]:
    """
    Yield the URL of the database as it is; the embedded server runs as long as anybody uses it.

    Raises
    ------
    DatabaseError
        If it cannot be started.
    """
    config = settings.config.database
    if config.url is not None:
        yield config.url.get_secret_value()
        return
    server = embedded_server(settings)
    async with server.running():
        yield server.url()


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
    async with running_database(settings) as url:
        with translated(place(url)):
            await upgrade(url, connect_timeout_s=config.connect_timeout_s)
        async with Database(config, url) as database:
            yield database
