"""The profiles that one person may name: the lab's, and their own."""

from uuid import UUID

from pydantic import TypeAdapter

from lab.db import Database
from lab.db.cache import Cache
from lab.errors import ConflictError, InputError, LabError, rebuild
from lab.pipelines import PipelineFactory
from lab.pipelines.profiles import check_name
from lab.schemas.model_profile import ModelProfile
from lab.schemas.profile_update import ProfileUpdate
from lab.schemas.stored_profile import StoredProfile
from lab.schemas.user import User
from lab.workflows.composer import NAMES

_STORED = TypeAdapter(list[StoredProfile])


class Profiles:
    """
    Find profiles and keep those of users, checked against the models that they are on.

    Parameters
    ----------
    database : Database
        Where users' profiles are.
    cache : Cache
        Copies of them.
    pipelines : PipelineFactory
        Where models and the lab's own profiles are.
    """

    def __init__(self, database: Database, cache: Cache, pipelines: PipelineFactory) -> None:
        self._database = database
        self._cache = cache
        self._pipelines = pipelines

    async def own(self, owner: User) -> list[StoredProfile]:
        """Return the profiles that a user made, by name."""

        async def stored() -> list[StoredProfile]:
            async with self._database.stores(owner.id) as stores:
                return await stores.model_profiles.all()

        name = f"profiles:{owner.id}"
        return await self._cache.get(name, _STORED, stored, owner_of=lambda _: owner.id)

    async def resolve(self, owner: User, name: str) -> ModelProfile:
        """
        Return the profile of that name, as it suits its model now.

        Raises
        ------
        UnknownModelError
            If there is none, or its model is gone.
        InputError
            If the model of that name cannot chat, or can no longer do what the profile asks for.
        """
        own = [stored.profile for stored in await self.own(owner)]
        profile = self._pipelines.resolve(name, own)
        if profile in own:
            self._check(profile)
        return profile

    async def members(self, owner: User, profile: ModelProfile) -> list[ModelProfile]:
        """
        Return the profiles that a profile's team names; none has a team itself.

        Raises
        ------
        UnknownModelError
            If there is none of a name.
        InputError
            If one has a team itself.
        """
        names = profile.team.members if profile.team else []
        members = [await self.resolve(owner, name) for name in names if name != profile.id]
        nested = [member.id for member in members if member.team]
        nested += [name for name in names if name == profile.id]
        if nested:
            raise InputError(
                f"`{nested[0]}` has a team itself, and cannot be in that of `{profile.id}`; name "
                "profiles without one."
            )
        return members

    async def add(self, owner: User, profile: ModelProfile) -> StoredProfile:
        """Keep a profile of a user; raise `ConflictError` where its name is taken."""
        self._check_new(profile)
        await self.members(owner, profile)
        async with self._database.stores(owner.id) as stores:
            stored = await stores.model_profiles.create(profile)
        await self._cache.drop(owner.id)
        return stored

    async def change(self, owner: User, id: UUID, update: ProfileUpdate) -> StoredProfile:
        """Put another profile in the place of one; `ConflictError` when it changed meanwhile."""
        self._check_new(update.profile)
        await self.members(owner, update.profile)
        async with self._database.stores(owner.id) as stores:
            stored = await stores.model_profiles.update(id, update.version, profile=update.profile)
        await self._cache.drop(owner.id)
        return stored

    async def remove(self, owner: User, id: UUID) -> None:
        """Delete a profile of a user."""
        async with self._database.stores(owner.id) as stores:
            await stores.model_profiles.delete(id)
        await self._cache.drop(owner.id)

    def _check_new(self, profile: ModelProfile) -> None:
        check_name(profile.id)
        taken = {one.id for one in self._pipelines.profiles()}
        taken |= {model.id for model in self._pipelines.models()}
        if profile.id in taken:
            raise ConflictError(
                f"`{profile.id}` is a model or profile of the lab; choose another name."
            )
        self._check(profile)

    def _check(self, profile: ModelProfile) -> None:
        try:
            self._pipelines.catalog.check(profile, NAMES)
        except LabError as error:
            what = f"The profile `{profile.id}` cannot be used: {error}"
            raise rebuild(error.code, what) from error
