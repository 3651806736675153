"""What `model` may name besides the models: the lab's profiles, and the user's own."""

from typing import Any
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.errors import UnknownModelError
from lab.schemas.model_profile import ModelProfile
from lab.schemas.profile_list import ProfileList
from lab.schemas.profile_update import ProfileUpdate
from lab.schemas.stored_profile import StoredProfile

PATH = "/v1/profiles"


class Profiles:
    """Profiles: a model with parameters, system prompt and window, under a name."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(self) -> ProfileList:
        """Return the lab's profiles, and the user's own."""
        return await self._http.fetch("GET", PATH, ProfileList)

    async def add(self, name: str, model: str, **values: Any) -> StoredProfile:
        """
        Make a profile.

        Parameters
        ----------
        name : str
            What requests call it.
        model : str
            Id of a model.
        **values
            Of `ModelProfile`, e.g. `system_prompt`, `parameters={"temperature": 0.7}`.

        Raises
        ------
        ConflictError
            If the name is taken.
        UnknownModelError
            If there is no such model.
        InputError
            If the model cannot do what the profile asks for.

        Examples
        --------
        In a notebook::

            await lab.profiles.add("brief", "lab-tiny", parameters={"max_new_tokens": 40})
            await lab.chat("Hello!", model="brief")
        """
        profile = checked(ModelProfile, id=name, model=model, **values)
        return await self._http.fetch("POST", PATH, StoredProfile, profile)

    async def get(self, name: str) -> StoredProfile:
        """Return one of the user's own by its name."""
        own = {stored.profile.id: stored for stored in (await self.list()).own}
        if name not in own:
            raise UnknownModelError(name, list(own), "profile of yours")
        return own[name]

    async def update(self, id: UUID, version: int, profile: ModelProfile) -> StoredProfile:
        """Put a profile in the place of the version read; `ConflictError` when it is another."""
        update = ProfileUpdate(version=version, profile=profile)
        return await self._http.fetch("PUT", f"{PATH}/{id}", StoredProfile, update)

    async def set(self, name: str, **values: Any) -> StoredProfile:
        """Change some values of one of the user's own profiles, e.g. `system_prompt`."""
        stored = await self.get(name)
        given = stored.profile.model_dump(mode="json", exclude_unset=True)
        profile = checked(ModelProfile, **{**given, **values})
        return await self.update(stored.id, stored.version, profile)

    async def remove(self, name: str) -> None:
        """Delete one of the user's own profiles."""
        await self._http.delete(f"{PATH}/{(await self.get(name)).id}")
