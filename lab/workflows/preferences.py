"""What each person has set: their settings, and who answers them."""

from typing import Any

from pydantic import TypeAdapter

from lab.config import Settings
from lab.db import Database
from lab.db.cache import Cache
from lab.errors import InputError, LabError, rebuild
from lab.pipelines import DEFAULT_PROFILE
from lab.schemas.model_profile import ModelProfile
from lab.schemas.user import User
from lab.workflows.profiles import Profiles

_STORED = TypeAdapter(dict[str, Any])
"""Settings that a user changed, by section."""


class Preferences:
    """
    Find what a person has set.

    Parameters
    ----------
    settings : Settings
        Of this process, without a user's layer.
    database : Database
        Where users' settings are.
    cache : Cache
        Copies of them.
    profiles : Profiles
        What may be named.
    """

    def __init__(
        self, settings: Settings, database: Database, cache: Cache, profiles: Profiles
    ) -> None:
        self._settings = settings
        self._database = database
        self._cache = cache
        self._profiles = profiles

    async def settings_of(self, owner: User) -> Settings:
        """Return the settings under the user's own."""

        async def stored() -> dict[str, Any]:
            async with self._database.stores(owner.id) as stores:
                return await stores.config.get()

        values = await self._cache.get(
            f"settings:{owner.id}", _STORED, stored, owner_of=lambda _: owner.id
        )
        return self._settings.under_user(values)

    async def team(
        self, owner: User, settings: Settings, profile: ModelProfile
    ) -> list[ModelProfile]:
        """
        Return the members of a profile's team.

        Raises
        ------
        UnknownModelError
            If there is no profile of a member's name.
        InputError
            If there are too many, or one has a team itself; or if the profile has none any more.
        """
        if profile.team is None:
            raise InputError(f"The profile `{profile.id}` has no team any more; ask again.")
        names, most = profile.team.members, settings.config.workflow.max_members
        if len(names) > most:
            raise InputError(
                f"The team of `{profile.id}` has {len(names)} members, and at most {most} answer "
                "(`workflow.max_members`); leave some out."
            )
        return await self._profiles.members(owner, profile)

    async def profile(self, owner: User, settings: Settings, *names: str | None) -> ModelProfile:
        """
        Return the profile of the first name that is one; where none is, who answers by default.

        Parameters
        ----------
        owner : User
            Who asks.
        settings : Settings
            What holds for them now.
        *names : str or None
            Whom they want, the first choice first.

        Raises
        ------
        UnknownModelError
            If there is none of that name, or its model is gone.
        InputError
            If the model cannot chat, or do what the profile asks for.
        """
        for name in names:
            if name:
                return await self._profiles.resolve(owner, name)
        primary = settings.config.roles.primary
        if not primary:
            return await self._profiles.resolve(owner, DEFAULT_PROFILE)
        try:
            return await self._profiles.resolve(owner, primary)
        except LabError as error:
            what = f"`roles.primary` cannot answer: {error} Choose another: `lab models use NAME`."
            raise rebuild(error.code, what) from error
