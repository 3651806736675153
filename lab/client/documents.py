"""The user's documents: files that the lab has read."""

import builtins
from io import BytesIO
from pathlib import Path
from typing import IO
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.errors import InputError
from lab.schemas.document import Document
from lab.schemas.document_added import DocumentAdded
from lab.schemas.document_hit import DocumentHit
from lab.schemas.document_search import DocumentSearch
from lab.schemas.document_text import DocumentText

PATH = "/v1/documents"


class Documents:
    """The user's documents."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def add(
        self, file: Path | str | bytes | IO[bytes], name: str | None = None
    ) -> DocumentAdded:
        """
        Add a file: text, Markdown, HTML, PDF or Word.

        Parameters
        ----------
        file : path, bytes or file object
            What to read.
        name : str, optional
            How to call it; by default as the file is called. Bytes need a name.

        Raises
        ------
        InputError
            If there is no such file, or no name.
        DocumentError
            If it cannot be read.
        """
        if isinstance(file, Path | str):
            try:
                with Path(file).open("rb") as opened:
                    return await self._send(opened, name or Path(file).name)
            except OSError as error:
                raise InputError(f"`{file}` cannot be opened: {error.strerror}.") from error
        content = BytesIO(file) if isinstance(file, bytes) else file
        called = name or Path(str(getattr(content, "name", ""))).name
        if not called:
            raise InputError("Bytes say nothing of a name; give `name`, e.g. `notes.txt`.")
        return await self._send(content, called)

    async def list(self, limit: int = 50, before: UUID | None = None) -> list[Document]:
        """Return documents, newest first."""
        return await self._http.fetch("GET", PATH, list[Document], limit=limit, before=before)

    async def search(self, text: str, limit: int = 10) -> builtins.list[DocumentHit]:
        """Return the passages that bear on a text, best first."""
        body = checked(DocumentSearch, query=text, limit=limit)
        return await self._http.fetch("POST", f"{PATH}/search", list[DocumentHit], body)

    async def get(self, document_id: UUID) -> Document:
        """Return what is known of a document."""
        return await self._http.fetch("GET", f"{PATH}/{document_id}", Document)

    async def text(self, document_id: UUID, start: int = 0, end: int | None = None) -> str:
        """Return the text of a document, or what stands from `start` up to `end`, as cited."""
        path = f"{PATH}/{document_id}/text"
        found = await self._http.fetch("GET", path, DocumentText, start=start, end=end)
        return found.text

    async def delete(self, document_id: UUID) -> None:
        """Delete a document."""
        await self._http.delete(f"{PATH}/{document_id}")

    async def _send(self, file: IO[bytes], name: str) -> DocumentAdded:
        return await self._http.upload(PATH, DocumentAdded, name, file)
