"""Documents that programs keep for a user across conversations, as the Agent Protocol has them."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import MemoryDep, RuntimeDep
from lab.schemas.store_delete_request import StoreDeleteRequest
from lab.schemas.store_item import StoreItem
from lab.schemas.store_namespaces_request import StoreNamespacesRequest
from lab.schemas.store_put_request import StorePutRequest
from lab.schemas.store_search_request import StoreSearchRequest
from lab.schemas.store_search_response import StoreSearchResponse

router = APIRouter(prefix="/v1/store", tags=["store"])


@router.put("/items", status_code=204)
async def put_item(request: StorePutRequest, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Store a document, in the place of the one that is there."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.items.put(request.namespace, request.key, request.value)


@router.get("/items")
async def get_item(
    runtime: RuntimeDep,
    owner: MemoryDep,
    key: str,
    namespace: Annotated[list[str], Query(description="Each part of it.")] = [],  # noqa: B006
) -> StoreItem:
    """Return a document."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.items.get(namespace, key)


@router.delete("/items", status_code=204)
async def delete_item(request: StoreDeleteRequest, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a document."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.items.delete(request.namespace, request.key)


@router.post("/items/search")
async def search_items(
    request: StoreSearchRequest, runtime: RuntimeDep, owner: MemoryDep
) -> StoreSearchResponse:
    """Return documents under a namespace, the one stored last first."""
    async with runtime.database.stores(owner.id) as stores:
        items = await stores.items.search(
            request.namespace_prefix or (),
            request.filter,
            limit=request.limit,
            offset=request.offset,
        )
    return StoreSearchResponse(items=items)


@router.post("/namespaces")
async def list_namespaces(
    request: StoreNamespacesRequest, runtime: RuntimeDep, owner: MemoryDep
) -> list[list[str]]:
    """Return the namespaces that hold something."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.items.namespaces(
            request.prefix,
            request.suffix,
            max_depth=request.max_depth,
            limit=request.limit,
            offset=request.offset,
        )
