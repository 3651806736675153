"""The client for commands that talk to the lab."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lab.client import Lab, connect
from lab.config import load_settings
from lab.supervisor.running import running_lab


@asynccontextmanager
async def open_client() -> AsyncIterator[Lab]:
    """
    Open the client of the lab that `LAB_API_URL` names, else of the one that runs here.

    Where none runs, one starts for this command.
    """
    async with open_running_client() as lab:
        if lab is not None:
            yield lab
            return
    async with connect() as lab:
        yield lab


@asynccontextmanager
async def open_running_client() -> AsyncIterator[Lab | None]:
    """Open the client that `open_client` does, or yield None where no lab runs."""
    if os.environ.get("LAB_API_URL"):  # noqa: TID251 - wiring, no setting
        async with connect() as lab:
            yield lab
        return
    async with running_lab(load_settings()) as found:
        if found is None:
            yield None
            return
        async with connect(found.url, found.token) as lab:
            yield lab
