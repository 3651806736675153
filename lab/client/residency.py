"""The memory that models share, as the client sees it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

from lab.client.http import Http
from lab.client.requests import checked
from lab.schemas.lease_request import LeaseRequest
from lab.schemas.memory_lease import MemoryLease
from lab.schemas.residency import Residency
from lab.schemas.residency_update import ResidencyUpdate

PATH = "/v1/residency"


class Residents:
    """The models in memory: everybody may look, administrators bring them and take them out."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def report(self) -> Residency:
        """Return what models take of their devices, who uses them, and the last decisions."""
        return await self._http.fetch("GET", PATH, Residency)

    async def load(self, model: str) -> Residency:
        """Bring a model into memory before anybody asks for it."""
        return await self._http.fetch("PUT", _path(model), Residency)

    async def unload(self, model: str) -> None:
        """Take a model out of memory; raise `ConflictError` while it is used."""
        await self._http.delete(_path(model))

    async def share(
        self,
        model: str,
        *,
        pinned: bool | None = None,
        priority: int | None = None,
        relearn: bool = False,
    ) -> Residency:
        """
        Pin a model or end that, and say how early it leaves when others need its memory.

        `relearn` forgets, at the next load, what its device bore when it ran out of memory.
        """
        update = checked(ResidencyUpdate, pinned=pinned, priority=priority, relearn=relearn)
        return await self._http.fetch("PATCH", _path(model), Residency, update)

    @asynccontextmanager
    async def lease(
        self, gb: float, *, device: str | None = None, purpose: str = "notebook"
    ) -> AsyncIterator[MemoryLease]:
        """
        Have memory of a device for this program's own use until the block ends.

        Unused models leave for it, and no other is loaded into it. It ends with the program too,
        however that ends.

        Parameters
        ----------
        gb : float
            How much, in GB.
        device : str, optional
            Of which device, as torch names it; by default the one that chat models run on.
        purpose : str
            What it is for; everybody sees it in `lab gpu`.

        Raises
        ------
        NoRoomError
            If it does not fit, or models in use did not leave in time.
        InputError
            If there is no such device.

        Examples
        --------
        Train beside the models that others use::

            async with lab.lease(gb=4, purpose="fine-tuning") as memory:
                train(device=memory.device)
        """
        pid = os.getpid() if await self._http.is_here() else None
        wish = checked(LeaseRequest, gb=gb, device=device, purpose=purpose, pid=pid)
        async with self._http.held(f"{PATH}/leases", MemoryLease, wish) as lease:
            yield lease


def _path(model: str) -> str:
    return f"{PATH}/{quote(model)}"
