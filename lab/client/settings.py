"""The user's settings and API keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.schemas.api_key import ApiKey
from lab.schemas.api_key_created import ApiKeyCreated
from lab.schemas.api_key_request import ApiKeyRequest
from lab.schemas.explained_setting import ExplainedSetting
from lab.schemas.scope import Scope

CONFIG = "/v1/config"
KEYS = "/v1/keys"


class UserSettings:
    """The settings as they hold for the user."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def explain(self, key: str | None = None) -> list[ExplainedSetting]:
        """Return each setting (or the one named) with the layer that set it."""
        return await self._http.fetch("GET", CONFIG, list[ExplainedSetting], key=key)

    async def set(self, key: str, value: Any) -> ExplainedSetting:
        """Set one of the user's own settings, e.g. `memory.enabled`."""
        section, _, name = key.partition(".")
        explained = await self._http.fetch(
            "PATCH", CONFIG, list[ExplainedSetting], body={section: {name: value}}
        )
        return next(setting for setting in explained if setting.key == key)

    async def reset(self, key: str) -> ExplainedSetting:
        """Give up the user's own value of one setting."""
        explained = await self._http.fetch("DELETE", f"{CONFIG}/{key}", list[ExplainedSetting])
        return next(setting for setting in explained if setting.key == key)


class Keys:
    """The user's API keys."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def create(
        self, name: str, scopes: Sequence[Scope] = (), expires_at: datetime | None = None
    ) -> ApiKeyCreated:
        """
        Make a key; its secret is shown this once.

        Without scopes it may ask and remember; without an end it ends with the token that makes it.
        """
        asked = {"scopes": list(scopes), "expires_at": expires_at}
        given = {key: value for key, value in asked.items() if value}
        request = checked(ApiKeyRequest, name=name, **given)
        return await self._http.fetch("POST", KEYS, ApiKeyCreated, body=request)

    async def list(self) -> list[ApiKey]:
        """Return the keys, without their secrets."""
        return await self._http.fetch("GET", KEYS, list[ApiKey])

    async def revoke(self, key_id: UUID) -> None:
        """Revoke a key at once."""
        await self._http.delete(f"{KEYS}/{key_id}")
