"""The caller: who they are, their settings and their keys."""

import os
from collections.abc import Iterator
from typing import IO, Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from api.deps import CallerDep, InferDep, MemoryDep, RuntimeDep
from lab.config import Settings, user_keys
from lab.errors import PermissionDeniedError, UnknownKeyError
from lab.schemas.api_key import ApiKey
from lab.schemas.api_key_created import ApiKeyCreated
from lab.schemas.api_key_request import ApiKeyRequest
from lab.schemas.caller import Caller
from lab.schemas.explained_setting import ExplainedSetting

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


@router.get("/config")
async def explain_config(
    runtime: RuntimeDep, owner: MemoryDep, key: str | None = None
) -> list[ExplainedSetting]:
    """Return the caller's settings, each with the layer that set it."""
    return _explained(await runtime.settings_of(owner), key)


@router.patch("/config")
async def change_config(
    values: dict[str, dict[str, Any]], runtime: RuntimeDep, owner: MemoryDep
) -> list[ExplainedSetting]:
    """Set some of the caller's own settings, e.g. `{"memory": {"enabled": false}}`."""
    async with runtime.database.stores(owner.id) as stores:
        changed = {s: dict(v) for s, v in (await stores.config.get()).items()}
        for section, section_values in values.items():
            changed.setdefault(section, {}).update(section_values)
        runtime.settings.overlay("user", values)  # refuses what is wrong or locked
        await stores.config.set(changed)
    return _explained(runtime.settings.under_user(changed), None)


@router.delete("/config/{key}")
async def reset_config(key: str, runtime: RuntimeDep, owner: MemoryDep) -> list[ExplainedSetting]:
    """Give up the caller's own value of one setting."""
    if key not in user_keys():
        raise UnknownKeyError(key, user_keys(), "the settings of users")
    section, name = key.split(".")
    async with runtime.database.stores(owner.id) as stores:
        changed = {s: dict(v) for s, v in (await stores.config.get()).items()}
        changed.get(section, {}).pop(name, None)
        await stores.config.set(changed)
    return _explained(runtime.settings.under_user(changed), None)


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
    if missing := [scope for scope in request.scopes if scope not in caller.scopes]:
        raise PermissionDeniedError(f"Your token lacks {', '.join(missing)}; a key cannot have it.")
    async with runtime.database.stores(owner.id) as stores:
        key, secret = await stores.api_keys.create(request.name, request.scopes, request.expires_at)
    return ApiKeyCreated(api_key=key, secret=secret)


@router.delete("/keys/{key_id}", status_code=204)
async def revoke_key(key_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Revoke an API key at once."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.api_keys.delete(key_id)


def _blocks(archive: IO[bytes]) -> Iterator[bytes]:
    with archive:
        archive.seek(0)
        while block := archive.read(BLOCK):
            yield block


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
