"""Documents: files whose texts are searched and cited."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.deps import MemoryDep, RuntimeDep
from api.disconnect import unless_gone
from api.uploads import FORM, UploadDep
from lab.errors import InputError
from lab.schemas.document import Document
from lab.schemas.document_added import DocumentAdded
from lab.schemas.document_hit import DocumentHit
from lab.schemas.document_search import DocumentSearch
from lab.schemas.document_text import DocumentText

router = APIRouter(prefix="/v1/documents", tags=["documents"])

Place = Annotated[int, Query(ge=0, le=2**31 - 1, description="In characters, from 0.")]


@router.post("", status_code=201, responses={200: {"model": DocumentAdded}}, openapi_extra=FORM)
async def add_document(
    file: UploadDep, request: Request, response: Response, runtime: RuntimeDep, owner: MemoryDep
) -> DocumentAdded:
    """
    Read a file and make its text findable: 201, or 200 where the same bytes were there already.

    Nothing of a file that cannot be read, or whose sender leaves, is kept.
    """
    added: list[DocumentAdded] = []

    async def add() -> None:
        added.append(await runtime.add_document(owner, file.file, file.filename or ""))

    await unless_gone(request, add())
    response.status_code = 201 if added[0].is_new else 200
    return added[0]


@router.get("")
async def list_documents(
    runtime: RuntimeDep,
    owner: MemoryDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Most rows to return.")] = 50,
    before: UUID | None = None,
) -> list[Document]:
    """Return documents, newest first."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.documents.list(limit, before)


@router.post("/search")
async def search_documents(
    request: DocumentSearch, runtime: RuntimeDep, owner: MemoryDep
) -> list[DocumentHit]:
    """Return the passages that bear on a question, best first."""
    return await runtime.search_documents(owner, request.query, request.limit)


@router.get("/{document_id}")
async def get_document(document_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> Document:
    """Return what is known of a document."""
    async with runtime.database.stores(owner.id) as stores:
        return await stores.documents.get(document_id)


@router.get("/{document_id}/text")
async def get_document_text(
    document_id: UUID,
    runtime: RuntimeDep,
    owner: MemoryDep,
    start: Place = 0,
    end: Place | None = None,
) -> DocumentText:
    """Return the text of a document, or what stands from `start` up to `end`, as cited."""
    if end is not None and end < start:
        raise InputError(f"`end` ({end}) lies before `start` ({start}); exchange them.")
    async with runtime.database.stores(owner.id) as stores:
        length = (await stores.documents.get(document_id)).n_characters
        first, last = min(start, length), min(length if end is None else end, length)
        text = await stores.documents.text(document_id, first, last)
    return DocumentText(document_id=document_id, start=first, end=last, text=text)


@router.delete("/{document_id}", status_code=204)
async def delete_document(document_id: UUID, runtime: RuntimeDep, owner: MemoryDep) -> None:
    """Delete a document with its passages; receipts of answers keep what they showed."""
    async with runtime.database.stores(owner.id) as stores:
        await stores.documents.delete(document_id)
