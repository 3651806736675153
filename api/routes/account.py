"""The caller: who they are, what they used, their settings and their keys."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import IO, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.deps import CallerDep, InferDep, MemoryDep, RuntimeDep, require
from lab.config import Settings, user_keys
from lab.errors import InputError, PermissionDeniedError, UnknownKeyError
from lab.schemas.api_key import ApiKey
from lab.schemas.api_key_created import ApiKeyCreated
from lab.schemas.api_key_request import ApiKeyRequest
from lab.schemas.caller import Caller
from lab.schemas.explained_setting import ExplainedSetting
from lab.schemas.scope import Scope
from lab.schemas.usage_day import UsageDay

router = APIRouter(prefix="/v1", tags=["account"])

BLOCK = 1 << 18
"""Bytes of a download that are in memory at once."""


@router.get("/me")
async def get_me(caller: CallerDep) -> Caller:
    """Return who the token belongs to and what it may do."""
    return caller


@router.get(
    "/me/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
async def export_me(runtime: RuntimeDep, owner: MemoryDep, asker: InferDep) -> StreamingResponse:
    """Return all that is stored of the caller: a zip of JSON Lines and executed notebooks."""
    archive = await runtime.export(owner)
    size = archive.seek(0, os.SEEK_END)
    return StreamingResponse(
        _blocks(archive),
        media_type="application/zip",
        headers={
            "Content-Disposition": f'attachment; filename="{owner.name}.zip"',
            "Content-Length": str(size),
        },
    )


@router.get("/usage")
async def list_usage(
    runtime: RuntimeDep,
    caller: CallerDep,
    owner: InferDep,
    days: Annotated[int, Query(ge=1, le=3660, description="This day and those before it.")] = 30,
    everybody: Annotated[bool, Query(description="Of all users, for administrators.")] = False,
) -> list[UsageDay]:
    """Return what models were used for, by day and model, newest first; days are those of UTC."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days - 1)
    if everybody:
        require(Scope.custom_lab_admin, caller)
        async with runtime.database.accounts() as accounts:
            return await accounts.usage(since)
    async with runtime.database.stores(owner.id) as stores:
        return await stores.usage.days(owner.name, since)


@router.get("/config")
async def explain_config(
    runtime: RuntimeDep, owner: MemoryDep, key: str | None = None
) -> list[ExplainedSetting]:
    """Return the caller's settings, each with the layer that set it."""
    return _explained(await runtime.preferences.settings_of(owner), key)


@router.patch("/config")
async def change_config(
    values: dict[str, dict[str, Any]], runtime: RuntimeDep, owner: MemoryDep
) -> list[ExplainedSetting]:
    """Set some of the caller's own settings, e.g. `{"memory": {"enabled": false}}`."""
    runtime.settings.overlay("user", values)  # refuses what is wrong or locked
    async with runtime.database.stores(owner.id) as stores:
        changed = await stores.config.get_for_change()
        for section, section_values in values.items():
            changed[section] = {**changed.get(section, {}), **section_values}
        await stores.config.set(changed)
    await runtime.cache.drop(owner.id)
    return _explained(await runtime.preferences.settings_of(owner), None)


@router.delete("/config/{key}")
async def reset_config(key: str, runtime: RuntimeDep, owner: MemoryDep) -> list[ExplainedSetting]:
    """Give up the caller's own value of one setting."""
    if key not in user_keys():
        raise UnknownKeyError(key, user_keys(), "the settings of users")
    section, name = key.split(".")
    async with runtime.database.stores(owner.id) as stores:
        changed = await stores.config.get_for_change()
        changed.get(section, {}).pop(name, None)
        await stores.config.set(changed)
    await runtime.cache.drop(owner.id)
    return _explained(await runtime.preferences.settings_of(owner), None)


@router.get("/keys")
async def list_keys(runtime: RuntimeDep, owner: MemoryDep) -> list[ApiKey]:
    """Return the caller's API keys, without their secrets."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.api_keys.list()


@router.post("/keys", status_code=201)
async def create_key(
    request: ApiKeyRequest, runtime: RuntimeDep, caller: CallerDep, owner: MemoryDep
) -> ApiKeyCreated:
    """Make an API key; its secret is shown this once."""
    scopes, ends = _scopes(request, caller), _end(request, caller)
    async with runtime.database.stores(owner.id) as stores:
        key, secret = await stores.api_keys.create(request.name, scopes, ends)
    return ApiKeyCreated(api_key=key, secret=secret)


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Revoke an API key at once."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.api_keys.delete(key_id)
    await runtime.cache.drop(owner.id)


def _blocks(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        archive.seek(0)
        while block := archive.read(BLOCK):
            yield block


def _scopes(request: ApiKeyRequest, caller: Caller) -> list[Scope]:
    """Return what a new key may do: what was asked for, or the usual as far as the caller may."""
    missing = [scope for scope in request.scopes if scope not in caller.scopes]
    if missing and "scopes" in request.model_fields_set:
        raise PermissionDeniedError(f"Your token lacks {', '.join(missing)}; a key cannot have it.")
    return [scope for scope in request.scopes if scope not in missing]


def _end(request: ApiKeyRequest, caller: Caller) -> datetime | None:
    """Return when a new key ends: as was asked for, or together with the caller's."""
    if "expires_at" not in request.model_fields_set:
        return caller.expires_at
    asked, now = request.expires_at, datetime.now(UTC)
    if asked is not None and asked <= now:
        raise InputError(
            f"`expires_at` is {asked.isoformat()}, which has passed; now is "
            f"{now.isoformat(timespec='seconds')}. Give a later time, or null for a key that stays."
        )
    if caller.expires_at is not None and (asked is None or asked > caller.expires_at):
        raise PermissionDeniedError(
            f"Your token ends at {caller.expires_at.isoformat()}, and a key made with it cannot "
            f"outlive it, as `expires_at` = {asked.isoformat() if asked else 'null'} would. Leave "
            "`expires_at` out, or make the key with a token that lasts longer."
        )
    return asked


def _explained(settings: Settings, key: str | None) -> list[ExplainedSetting]:
    mine = set(user_keys())
    return [
        ExplainedSetting(
            key=s.key,
            value=s.value,
            layer=s.layer,
            env=s.env,
            description=s.description,
            locked=s.locked,
            user=s.key in mine,
        )
        for s in settings.explain(key)
    ]
