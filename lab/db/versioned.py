"""Rows that two may want to change at once: neither overwrites what it has not read."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import select

from lab.db.owned import EntityT, OwnedStore
from lab.db.tables import VersionedRow
from lab.errors import ConflictError, NotFoundError


class VersionedStore(OwnedStore[EntityT]):
    """Rows that change from one version to the next."""

    row: ClassVar[type[VersionedRow]]

    async def update(self, id: UUID, version: int, **fields: Any) -> EntityT:
        """
        Change fields of a row, and return its next version.

        Parameters
        ----------
        id : UUID
            The row.
        version : int
            The one that was read: the change was made to it.
        **fields
            What becomes of it.

        Raises
        ------
        ConflictError
            If somebody else changed the row meanwhile; nothing changes.
        NotFoundError
            If there is no such row.
        InputError
            If a field cannot change, or a value breaks the schema.
        """
        return await self._next(id, version, self._changes(fields))

    async def _next(self, id: UUID, version: int, values: Mapping[str, Any]) -> EntityT:
        # Of two writers the second waits here for the first, and then finds another version.
        changed = await self._changed(
            {**values, "version": version + 1}, *self._is(id), self.row.version == version
        )
        if changed is not None:
            return self._checked(changed)
        present = await self._session.scalar(select(self.row.version).where(*self._is(id)))
        if present is None:
            raise NotFoundError(self.kind, id)
        raise ConflictError(
            f"The {self.kind} `{id}` is at version {present}, and this change was made to version "
            f"{version}; read it again and change that."
        )
