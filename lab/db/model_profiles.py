"""Model profiles that users made."""

from typing import Any
from uuid import UUID

from lab.db.owned import free_name
from lab.db.tables import ModelProfileRow
from lab.db.versioned import VersionedStore
from lab.schemas.model_profile import ModelProfile
from lab.schemas.stored_profile import StoredProfile


class ModelProfileStore(VersionedStore[StoredProfile]):
    """Profiles of one user, each with a name of its own, which is the profile's id."""

    kind = "model profile"
    row = ModelProfileRow
    entity = StoredProfile
    changeable = frozenset({"profile"})

    async def create(self, profile: ModelProfile) -> StoredProfile:
        """Keep a profile, or raise `ConflictError` when the user has one of that name."""
        with free_name(self.kind, profile.id):
            return await self._insert(profile=profile.model_dump(mode="json"))

    async def update(self, id: UUID, version: int, **fields: Any) -> StoredProfile:
        """Put another `profile` in the place of one; `ConflictError` as in `create`, too."""
        profile = fields.get("profile")
        with free_name(self.kind, profile and profile.id):
            return await super().update(id, version, **fields)
