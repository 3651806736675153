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
    if os.environ.get("LAB_API_URL"):  # noqa: TID251 - wiring, no setting
        async with connect() as lab:
            yield lab
        return
    async with (
        running_lab(load_settings()) as found,
        connect(found.url, found.token) if found else connect() as lab,
    ):
        yield lab
