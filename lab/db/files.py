"""Bytes that messages and images refer to: pictures, sound and other files."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import filetype
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.owned import OwnedStore
from lab.db.tables import FileRow
from lab.errors import DocumentTooLargeError, InputError, MediaTypeError, NotFoundError
from lab.messages import Attachment
from lab.schemas.file import File

SEEN_AND_HEARD: Final = ("image/", "audio/", "video/")
"""Media types that are told by the bytes alone."""
_ZIP = "application/zip"
_UNKNOWN = "application/octet-stream"
_FAMILIES = {"image": "image/", "audio": "audio/", "file": ""}
"""How the media type begins of what a part refers to."""


class FileStore(OwnedStore[File]):
    """
    Files of one user.

    Parameters
    ----------
    session : AsyncSession
        As for every store.
    owner_id : UUID
        The user.
    max_bytes : int
        Size of the largest file that is stored.
    """

    kind = "file"
    row = FileRow
    entity = File

    def __init__(self, session: AsyncSession, owner_id: UUID, max_bytes: int) -> None:
        super().__init__(session, owner_id)
        self._max_bytes = max_bytes

    async def add(self, content: bytes, media_type: str, *, name: str | None = None) -> File:
        """
        Store bytes of a media type.

        Raises
        ------
        MediaTypeError
            If the bytes are something else.
        DocumentTooLargeError
            If there are more of them than the operator allows.
        """
        if len(content) > self._max_bytes:
            raise DocumentTooLargeError(
                f"The file has {len(content):,} bytes, and {self._max_bytes:,} are allowed "
                "(database.max_file_bytes); send a smaller one, or ask the operator for more."
            )
        check_media_type(content, media_type)
        return await self._insert(
            name=name,
            media_type=media_type,
            sha256=sha256(content).hexdigest(),
            n_bytes=len(content),
            content=content,
        )

    async def content(self, id: UUID) -> bytes:
        """Return the bytes of a file, or raise `NotFoundError`."""
        found = await self._session.scalar(select(FileRow.content).where(*self._is(id)))
        if found is None:
            raise NotFoundError(self.kind, id)
        return found


async def check_attachments(
    session: AsyncSession, owner_id: UUID, attachments: Sequence[Attachment]
) -> None:
    """
    Raise when a part refers to what its owner has not, or to what is of another kind.

    Raises
    ------
    NotFoundError
        If a file is not the owner's.
    InputError
        If a picture is none, or sound is none.
    """
    ids = {part.file_id for part in attachments}
    found = await session.execute(
        select(FileRow.id, FileRow.media_type).where(
            FileRow.owner_id == owner_id, FileRow.id.in_(ids)
        )
    )
    media_types = {id: media_type for id, media_type in found}
    for part in attachments:
        if part.file_id not in media_types:
            raise NotFoundError(FileStore.kind, part.file_id)
        if not (media_type := media_types[part.file_id]).startswith(_FAMILIES[part.type]):
            raise InputError(
                f"The file `{part.file_id}` is {media_type}, and a part of type `{part.type}` "
                f"refers to {_FAMILIES[part.type]}…; make it a part of type `file`."
            )


def media_type_of(content: bytes) -> str:
    """Return the media type that bytes show; that of no known kind where they show none."""
    found = filetype.guess_mime(content)
    return found.replace("/x-", "/") if found else _UNKNOWN


def check_media_type(content: bytes, media_type: str) -> None:
    """
    Raise `MediaTypeError` when bytes are not what they are said to be.

    Pictures, sound and film must be recognised by their first bytes. Of the rest, what has a
    signature must have it, but formats that are zip archives are not told apart, and text may begin
    as it likes.

    >>> check_media_type(b"BM is short for bare metal.", "text/plain")
    >>> check_media_type(b"<svg/>", "image/png")
    Traceback (most recent call last):
    lab.errors.MediaTypeError: The file is called image/png, but its bytes are of no known kind.
    """
    found = filetype.guess_mime(content)
    if found is not None:
        found = found.replace("/x-", "/")
    if found == media_type.replace("/x-", "/"):
        return
    if media_type.startswith("text/"):
        fits = found is None or b"\0" not in content
    elif media_type.startswith(SEEN_AND_HEARD):
        fits = False
    elif found is None:
        fits = media_type == _UNKNOWN or filetype.get_type(mime=media_type) is None
    else:
        fits = found == _ZIP
    if not fits:
        what = f"{found}; send it as that" if found else "of no known kind"
        raise MediaTypeError(f"The file is called {media_type}, but its bytes are {what}.")
