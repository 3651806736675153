"""The client for commands that talk to the lab."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from lab.client import Lab, connect
from lab.config import Settings, load_settings
from lab.db import Database, open_database
from lab.schemas.scope import Scope
from lab.schemas.user import User
from lab.supervisor.addresses import addresses
from lab.supervisor.record import read_record

KEY_LIFETIME = timedelta(days=1)


@asynccontextmanager
async def open_client() -> AsyncIterator[Lab]:
    """
    Open the client of the lab that `LAB_API_URL` names, else of the one that runs here.

    Where none runs, one starts for this command. Whoever may use the data folder is the
    administrator.
    """
    settings = load_settings()
    if os.environ.get("LAB_API_URL") or not _runs(settings):  # noqa: TID251 - wiring, no setting
        async with connect() as lab:
            yield lab
        return
    async with (
        open_database(settings) as database,
        _key(database, settings.config.hub.admin) as secret,
        connect(addresses(settings).api, secret) as lab,
    ):
        yield lab


def _runs(settings: Settings) -> bool:
    record = read_record(settings.data_folder)
    return record is not None and record.supervisor() is not None


@asynccontextmanager
async def _key(database: Database, owner: str) -> AsyncIterator[str]:
    """Yield a key of the administrator's that ends with the command."""
    async with database.accounts() as accounts:
        user: User = await accounts.get_or_create(owner, is_admin=True)
    async with database.stores(user.id) as stores:
        key, secret = await stores.api_keys.create(
            "command line", list(Scope), datetime.now(UTC) + KEY_LIFETIME
        )
    try:
        yield secret
    finally:
        async with database.stores(user.id) as stores:
            await stores.api_keys.delete(key.id)
