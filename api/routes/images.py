"""Pictures: made, changed, looked at and deleted, as OpenAI's clients speak of them."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.deps import InferDep, MemoryDep, RuntimeDep
from api.disconnect import unless_gone
from api.picture_form import EDIT_FORM, PictureForm, PictureFormDep
from api.streams import named, streamed
from lab.schemas.image import Image
from lab.schemas.image_event import ImageEvent
from lab.schemas.image_event_type import ImageEventType
from lab.schemas.image_request import ImageRequest
from lab.schemas.made_image import MadeImage
from lab.schemas.made_images import MadeImages

router = APIRouter(prefix="/v1/images", tags=["images"])

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": MadeImages, "content": {"text/event-stream": {}}}
}
Events = AsyncGenerator[ImageEvent, None]


@router.post("/generations", responses=ANSWERS)
async def create_image(
    request: ImageRequest, http: Request, runtime: RuntimeDep, owner: InferDep
) -> Any:
    """Make pictures from words; with `stream` as Server-Sent Events, each step and each picture."""
    events = runtime.images.make(owner.id, request)
    return await _answer(http, events, stream=bool(request.stream))


@router.post("/edits", responses=ANSWERS, openapi_extra=EDIT_FORM)
async def edit_image(
    form: PictureFormDep, http: Request, runtime: RuntimeDep, owner: InferDep
) -> Any:
    """Change a picture, or the part of it that a mask shows; otherwise as `generations`."""
    sent: PictureForm = form
    events = runtime.images.make(owner.id, sent.request, sent.upload)
    return await _answer(http, events, stream=bool(sent.request.stream))


@router.get("")
async def list_images(
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most rows to return.")] = 50,
    before: UUID | None = None,
) -> list[Image]:
    """Return pictures that were made, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.images.list(limit, before)


@router.get("/{image_id}")
async def get_image(image_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Image:
    """Return what a picture was made from."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.images.get(image_id)


@router.get(
    "/{image_id}/content",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
async def get_image_content(image_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Response:
    """Return the bytes of a picture."""
    async with runtime.database.stores(owner.id) as stores:
        image = await stores.images.get(image_id)
        content = await stores.files.content(image.file_id)
    return Response(content, media_type="image/png")


@router.delete("/{image_id}", status_code=204)
async def delete_image(image_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a picture with its bytes; those edited from it stay."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.images.delete(image_id)


async def _answer(http: Request, events: Events, *, stream: bool) -> Any:
    """Return the pictures, or the stream of their making once it has begun."""
    if not stream:
        return JSONResponse(await unless_gone(http, _take_all(events)))
    return await streamed(http, events, named)


async def _take_all(events: Events) -> dict[str, Any]:
    made: list[ImageEvent] = []
    async with aclosing(events):
        made = [event async for event in events if event.type is not ImageEventType.progress]
    pictures = [
        MadeImage(b64_json=event.b64_json, image=event.image)
        for event in made
        if event.b64_json is not None and event.image is not None
    ]
    size = made[0].size or ""
    return MadeImages(created=int(time.time()), data=pictures, size=size).model_dump(mode="json")
