"""Callers whom JupyterHub knows; importing this imports tornado, which `lab serve` never needs."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from jupyterhub.services.auth import HubAuth
from tornado.web import HTTPError

from api.identity import CALLER, KEY_PREFIX, KeyIdentity
from lab.db import Database
from lab.db.api_keys import hash_secret
from lab.db.cache import Cache
from lab.errors import AuthenticationError, PermissionDeniedError, UnavailableError
from lab.schemas.caller import Caller
from lab.schemas.scope import Scope

CACHE_S = 45
"""How long an answer of the hub is believed: a revoked token works for at most this long."""


class HubIdentity:
    """
    Tokens of JupyterHub, and API keys beside them.

    Parameters
    ----------
    auth : HubAuth
        Configured by the hub's variables in the environment.
    """

    def __init__(self, auth: HubAuth) -> None:
        self._auth = auth
        self._keys = KeyIdentity()

    async def __call__(self, token: str | None, database: Database, cache: Cache) -> Caller:
        """Ask the hub, or look an API key up."""
        if not token or token.startswith(KEY_PREFIX):
            return await self._keys(token, database, cache)
        return await cache.get(
            f"hub:{hash_secret(token)}",
            CALLER,
            partial(self._ask, token, database),
            owner_of=lambda found: found.user.id,
            ttl_s=CACHE_S,
        )

    async def _ask(self, token: str, database: Database) -> Caller:
        model = await self._model(token)
        if model is None:
            raise AuthenticationError("The hub does not know this token; log in again.")
        if not self._auth.check_scopes(self._auth.access_scopes, model):
            raise PermissionDeniedError("This token may not reach the lab's API; get another.")
        if model["kind"] != "user":
            raise PermissionDeniedError(
                f"`{model['name']}` is a service of the hub, and only people own things here; "
                "use an API key of the person it works for."
            )
        async with database.accounts() as accounts:
            user = await accounts.get_or_create(model["name"], is_admin=bool(model.get("admin")))
        return Caller(user=user, scopes=[s for s in Scope if _grants(model["scopes"], s)])

    async def _model(self, token: str) -> Mapping[str, Any] | None:
        try:
            found = await self._auth.user_for_token(token, use_cache=False, sync=False)
        except (OSError, TimeoutError, HTTPError) as error:
            raise UnavailableError("The hub does not answer; try again in a moment.") from error
        return found


def hub_identity() -> HubIdentity:
    """Return the identity that the hub's variables in the environment describe."""
    return HubIdentity(HubAuth())


def _grants(scopes: list[str], scope: Scope) -> bool:
    """Return True for the scope itself and for it limited to the owner (`scope!user=name`)."""
    return any(given.split("!")[0] == scope.value for given in scopes)
