"""Keys for clients outside the hub."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from lab.db.changes import tell
from lab.db.owned import OwnedStore
from lab.db.tables import ApiKeyRow
from lab.schemas.api_key import ApiKey
from lab.schemas.scope import Scope

MARK = "lab_"
PREFIX_LENGTH = 12


class ApiKeyStore(OwnedStore[ApiKey]):
    """API keys of one user; a secret is shown once and stored as its hash."""

    kind = "API key"
    row = ApiKeyRow
    entity = ApiKey

    async def create(
        self, name: str, scopes: Sequence[Scope], expires_at: datetime | None = None
    ) -> tuple[ApiKey, str]:
        """Make a key and return it with its secret, which cannot be read again."""
        secret = MARK + secrets.token_urlsafe(32)
        key = await self._insert(
            name=name,
            prefix=secret[:PREFIX_LENGTH],
            secret_hash=hash_secret(secret),
            scopes=[scope.value for scope in scopes],
            expires_at=expires_at,
        )
        return key, secret

    async def delete(self, id: UUID) -> None:
        """Make a key worthless, or raise `NotFoundError`."""
        await super().delete(id)
        await tell(self._session, self._owner_id)


def hash_secret(secret: str) -> str:
    """
    Return what is stored of a secret.

    A plain hash is enough: the secret is 256 random bits, which no one can guess.
    """
    return hashlib.sha256(secret.encode()).hexdigest()
