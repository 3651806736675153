"""The web: pages that are read and kept, and searches."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse

from api.deps import MemoryDep, RuntimeDep
from api.disconnect import unless_gone
from api.streams import streamed
from lab.schemas.error_response import ErrorResponse
from lab.schemas.web_page import WebPage
from lab.schemas.web_read_request import WebReadRequest
from lab.schemas.web_search_request import WebSearchRequest
from lab.schemas.web_search_response import WebSearchResponse

router = APIRouter(prefix="/v1/web", tags=["web"])

WARC = "application/warc"


@router.post(
    "/search",
    responses={502: {"model": ErrorResponse, "description": "All providers failed."}},
)
async def search_web(
    request: WebSearchRequest, http: Request, runtime: RuntimeDep, owner: MemoryDep
) -> WebSearchResponse:
    """Return pages that bear on a query, the nearest first, and which providers failed."""
    return await unless_gone(http, runtime.search_web(owner, request))


@router.post(
    "/read",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def read_web(
    request: WebReadRequest, http: Request, runtime: RuntimeDep, owner: MemoryDep
) -> StreamingResponse:
    """
    Read pages and keep them; what comes of each is a Server-Sent Event, as soon as it is kept.

    A client that goes away ends the reading.
    """
    return await streamed(http, runtime.web.read(owner.id, request))


@router.get("/pages")
async def list_web_pages(
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most rows to return.")] = 50,
    before: UUID | None = None,
) -> list[WebPage]:
    """Return pages that were read, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.web_pages.list(limit, before)


@router.get("/pages/{page_id}")
async def get_web_page(page_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> WebPage:
    """Return a page as it was read."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.web_pages.get(page_id)


@router.get(
    "/pages/{page_id}/snapshot",
    response_class=Response,
    responses={200: {"content": {WARC: {}}}},
)
async def get_web_snapshot(page_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Response:
    """Return the snapshot of a page: a WARC file, packed by gzip."""
    async with runtime.database.stores(owner.id) as stores:
        return Response(await stores.web_pages.warc(page_id), media_type=WARC)


@router.delete("/pages/{page_id}", status_code=204)
async def delete_web_page(page_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a page with its snapshot and its passages."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.web_pages.delete(page_id)
