"""
Profiles: what `model` in a request may name besides a model; one's own are kept here.

Answers leave out what a profile leaves open.
"""

from uuid import UUID

from fastapi import APIRouter

from api.deps import InferDep, MemoryDep, RuntimeDep
from lab.schemas.model_profile import ModelProfile
from lab.schemas.profile_list import ProfileList
from lab.schemas.profile_update import ProfileUpdate
from lab.schemas.stored_profile import StoredProfile

router = APIRouter(prefix="/v1/profiles", tags=["models"])


@router.get("", response_model_exclude_unset=True)
async def list_profiles(runtime: RuntimeDep, owner: InferDep) -> ProfileList:
    """Return the profiles of the lab, and the caller's own."""
    async with runtime.database.stores(owner.id) as stores:
        own = await stores.model_profiles.all()
    await runtime.pipelines.discover()
    return ProfileList(system=runtime.pipelines.profiles(), own=own)


@router.post("", status_code=201, response_model_exclude_unset=True)
async def add_profile(
    profile: ModelProfile, runtime: RuntimeDep, owner: MemoryDep
) -> StoredProfile:
    """Keep a profile of one's own; its model must be able to do what it asks for."""
    return await runtime.profiles.add(owner, profile)


@router.get("/{profile_id}", response_model_exclude_unset=True)
async def get_profile(profile_id: UUID, runtime: RuntimeDep, owner: InferDep) -> StoredProfile:
    """Return one of one's own."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.model_profiles.get(profile_id)


@router.put("/{profile_id}", response_model_exclude_unset=True)
async def change_profile(
    profile_id: UUID, update: ProfileUpdate, runtime: RuntimeDep, owner: MemoryDep
) -> StoredProfile:
    """Put another profile in its place; 409 when it is at another version by now."""
    return await runtime.profiles.change(owner, profile_id, update)


@router.delete("/{profile_id}", status_code=204)
async def remove_profile(profile_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete one of one's own; answers that it gave stay."""
    await runtime.profiles.remove(owner, profile_id)
