"""Who sent a request, and what their token may do."""

import hmac
from typing import Protocol

from pydantic import TypeAdapter

from lab.db import Database
from lab.db.accounts import check_not_ended
from lab.db.api_keys import hash_secret
from lab.db.cache import Cache
from lab.errors import AuthenticationError
from lab.schemas.caller import Caller
from lab.schemas.scope import Scope
from lab.schemas.user import User

KEY_PREFIX = "lab_"
CALLER = TypeAdapter(Caller)


class Identity(Protocol):
    """Find out who sent a token."""

    async def __call__(self, token: str | None, database: Database, cache: Cache) -> Caller:
        """Return the caller, or raise `AuthenticationError` or `PermissionDeniedError`."""
        ...


class KeyIdentity:
    """API keys of the lab itself."""

    async def __call__(self, token: str | None, database: Database, cache: Cache) -> Caller:
        """Look the key's hash up."""
        if not token:
            raise AuthenticationError(
                "No token came with the request; send `Authorization: Bearer TOKEN` with an API "
                "key (`lab keys create NAME`) or a token of the hub."
            )

        async def stored() -> Caller:
            async with database.accounts() as accounts:
                return await accounts.user_of_key(token)

        caller = await cache.get(
            f"key:{hash_secret(token)}", CALLER, stored, owner_of=lambda found: found.user.id
        )
        check_not_ended(caller.expires_at)
        return caller


class LocalIdentity:
    """
    The one user of a lab that runs for one program, and API keys, as its evaluations get.

    Parameters
    ----------
    name : str
        Login name of the user.
    token : str, optional
        What the program sends. Without one everybody is let in, as fits an app that nothing outside
        of this program can reach.
    """

    def __init__(self, name: str, token: str | None = None) -> None:
        self._name = name
        self._token = token
        self._keys = KeyIdentity()
        self._user: User | None = None

    async def __call__(self, token: str | None, database: Database, cache: Cache) -> Caller:
        """Return the user, made at the first request; or whose API key it is."""
        if token and token.startswith(KEY_PREFIX):
            return await self._keys(token, database, cache)
        if self._token is not None and not hmac.compare_digest(
            (token or "").encode(), self._token.encode()
        ):
            raise AuthenticationError("This lab answers only the program that started it.")
        if self._user is None:
            async with database.accounts() as accounts:
                self._user = await accounts.get_or_create(self._name, is_admin=True)
        return Caller(user=self._user, scopes=list(Scope))
