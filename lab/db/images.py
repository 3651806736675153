"""Pictures that models made."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select

from lab.db.files import check_attachments
from lab.db.ids import new_id
from lab.db.owned import OwnedStore
from lab.db.tables import FileRow, ImageRow
from lab.schemas.image import Image
from lab.schemas.image_part import ImagePart


class ImageStore(OwnedStore[Image]):
    """Pictures of one user, each with what made it."""

    kind = "image"
    row = ImageRow
    entity = Image

    async def add(
        self,
        file_id: UUID,
        prompt: str,
        model: str,
        parameters: Mapping[str, Any],
        *,
        source_id: UUID | None = None,
        id: UUID | None = None,
    ) -> Image:
        """
        Store what a picture was made from; `source_id` is the one that it was edited from.

        By its `id` a step that is done again finds what it made before.

        Raises
        ------
        NotFoundError
            If the file or the source is not the user's.
        InputError
            If the file is no picture.
        """
        await check_attachments(self._session, self._owner_id, [ImagePart(file_id=file_id)])
        if source_id is not None:
            await self.get(source_id)
        return await self._insert(
            id=id or new_id(),
            file_id=file_id,
            prompt=prompt,
            model=model,
            parameters=dict(parameters),
            source_id=source_id,
        )

    async def made_of(self, content: bytes) -> UUID | None:
        """Return the newest picture that has these bytes; None for bytes of others."""
        return await self._session.scalar(
            select(ImageRow.id)
            .join(FileRow, FileRow.id == ImageRow.file_id)
            .where(
                ImageRow.owner_id == self._owner_id,
                FileRow.owner_id == self._owner_id,
                FileRow.sha256 == sha256(content).hexdigest(),
            )
            .order_by(ImageRow.id.desc())
            .limit(1)
        )

    async def delete(self, id: UUID) -> None:
        """Delete a picture with its bytes; those edited from it stay."""
        image = await self.get(id)
        await self._session.execute(
            delete(FileRow).where(FileRow.id == image.file_id, FileRow.owner_id == self._owner_id)
        )
