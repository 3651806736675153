"""Model profiles that users made."""

import builtins
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from lab.db.changes import tell
from lab.db.owned import free_name
from lab.db.tables import ModelProfileRow
from lab.db.versioned import VersionedStore
from lab.errors import ConflictError
from lab.schemas.model_profile import ModelProfile
from lab.schemas.stored_profile import StoredProfile

MOST_PROFILES = 200
"""Of one user: all are read to answer which one a request names."""


class ModelProfileStore(VersionedStore[StoredProfile]):
    """Profiles of one user, each with a name of its own, which is the profile's id."""

    kind = "model profile"
    row = ModelProfileRow
    entity = StoredProfile
    changeable = frozenset({"profile"})

    async def all(self) -> builtins.list[StoredProfile]:
        """Return every profile, by name."""
        mine = select(ModelProfileRow).where(ModelProfileRow.owner_id == self._owner_id)
        rows = await self._session.scalars(mine.order_by(ModelProfileRow.name))
        return [self._checked(row) for row in rows]

    async def create(self, profile: ModelProfile) -> StoredProfile:
        """Keep a profile, or raise `ConflictError` when the user has one of that name, or many."""
        mine = select(func.count()).where(ModelProfileRow.owner_id == self._owner_id)
        if (await self._session.scalar(mine) or 0) >= MOST_PROFILES:
            raise ConflictError(
                f"You have {MOST_PROFILES} profiles, and that is the most; remove one first."
            )
        with free_name(self.kind, profile.id):
            stored = await self._insert(profile=_given(profile))
        await tell(self._session, self._owner_id)
        return stored

    async def update(self, id: UUID, version: int, **fields: Any) -> StoredProfile:
        """Put another `profile` in the place of one; `ConflictError` as in `create`, too."""
        profile = fields.get("profile")
        if isinstance(profile, ModelProfile):
            fields["profile"] = _given(profile)
        with free_name(self.kind, profile and profile.id):
            stored = await super().update(id, version, **fields)
        await tell(self._session, self._owner_id)
        return stored

    async def delete(self, id: UUID) -> None:
        """Delete a profile, or raise `NotFoundError`."""
        await super().delete(id)
        await tell(self._session, self._owner_id)


def _given(profile: ModelProfile) -> dict[str, Any]:
    """Return what a profile sets: what it leaves open stays open, whatever defaults become."""
    return profile.model_dump(mode="json", exclude_unset=True)
