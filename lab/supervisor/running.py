"""The lab that runs on a data folder, if one does: where it is, and a key to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from lab.client.address import Address
from lab.config import Settings
from lab.db import Database, open_database
from lab.schemas.scope import Scope
from lab.supervisor.addresses import addresses
from lab.supervisor.record import SERVE, living_record

KEY_LIFETIME = timedelta(days=30)
"""How long a key lives at most, should this process be killed before it deletes it."""


def api_url(settings: Settings) -> str | None:
    """Return where the API of `lab up` or else of `lab serve` is; None when neither runs."""
    if living_record(settings.data_folder):
        return addresses(settings).api
    serve = living_record(settings.data_folder, SERVE)
    return serve.url if serve else None


@asynccontextmanager
async def running_lab(settings: Settings) -> AsyncIterator[Address | None]:
    """
    Yield the way into the lab that runs on this data folder, or None when none does.

    Whoever may use the data folder is the administrator; the key ends with the block.
    """
    url = api_url(settings)
    if url is None:
        yield None
        return
    async with (
        open_database(settings) as database,
        _key(database, settings.config.hub.admin) as secret,
    ):
        yield Address(url, secret)


@asynccontextmanager
async def _key(database: Database, owner: str) -> AsyncIterator[str]:
    async with database.accounts() as accounts:
        user = await accounts.get_or_create(owner, is_admin=True)
    async with database.stores(user.id) as stores:
        key, secret = await stores.api_keys.create(
            "this machine", list(Scope), datetime.now(UTC) + KEY_LIFETIME
        )
    try:
        yield secret
    finally:
        async with database.stores(user.id) as stores:
            await stores.api_keys.delete(key.id)
