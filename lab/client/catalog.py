"""Which models the lab has; administrators add them and take them out."""

from typing import Any
from urllib.parse import quote

from lab.client.http import Http
from lab.client.requests import checked
from lab.schemas.model_card import ModelCard
from lab.schemas.model_list import ModelList
from lab.schemas.model_pin import ModelPin
from lab.schemas.model_request import ModelRequest

PATH = "/v1/models"


class Catalog:
    """The models of the lab: everybody may look, administrators change what there is."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> list[ModelCard]:
        """Return what `model` may name; the first is the lab's default."""
        return (await self._http.fetch("GET", PATH, ModelList)).data

    async def get(self, name: str) -> ModelCard:
        """Return one model or profile; raise `UnknownModelError` with the nearest names."""
        return await self._http.fetch("GET", _path(name), ModelCard)

    async def add(self, source: str, **values: Any) -> ModelCard:
        """
        Add a model; its files are checked, and nothing is loaded.

        Parameters
        ----------
        source : str
            Hugging Face id, or a folder on the lab's machine.
        **values
            Of `ModelRequest`: `name`, `revision`, `task`, `description`.

        Raises
        ------
        InputError
            If it is no model that the lab can run.
        ConflictError
            If its name is taken.
        """
        request = checked(ModelRequest, source=source, **values)
        return await self._http.fetch("POST", PATH, ModelCard, request)

    async def pin(self, name: str, commit: str) -> ModelCard:
        """Pin a model to a commit whose files are on the lab's machine."""
        return await self._http.fetch(
            "PATCH", _path(name), ModelCard, checked(ModelPin, revision=commit)
        )

    async def remove(self, name: str) -> None:
        """Take a model out of the lab, and leave its files; `ConflictError` while it is used."""
        await self._http.delete(_path(name))


def _path(name: str) -> str:
    return f"{PATH}/{quote(name)}"
