"""The memory that models share, as the client sees it."""

from urllib.parse import quote

from lab.client.http import Http
from lab.client.requests import checked
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


def _path(model: str) -> str:
    return f"{PATH}/{quote(model)}"
