"""Files that messages refer to."""

from typing import Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from api.deps import MemoryDep, RuntimeDep

router = APIRouter(prefix="/v1/files", tags=["files"])

SAVED: Final = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
"""Who opens it in a browser saves it: it is no page of the lab's."""


@router.get(
    "/{file_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def get_file_content(file_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Response:
    """Return the bytes of a file."""
    async with runtime.database.stores(owner.id) as stores:
        file = await stores.files.get(file_id)
        content = await stores.files.content(file_id)
    return Response(content, media_type=file.media_type, headers=SAVED)
