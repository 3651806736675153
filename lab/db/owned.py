"""What every store of owned rows does alike."""

import builtins
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from psycopg.errors import UniqueViolation
from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, delete, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from lab.db.tables import ConversationRow, OwnedRow
from lab.errors import ConflictError, InputError, NotFoundError, nearest

EntityT = TypeVar("EntityT", bound=BaseModel)


class Store:
    """
    What one user owns of one kind; what is another's does not exist here.

    Parameters
    ----------
    session : AsyncSession
        Open session. The store never commits: the caller owns the transaction.
    owner_id : UUID
        The user.
    """

    def __init__(self, session: AsyncSession, owner_id: UUID) -> None:
        self._session = session
        self._owner_id = owner_id


class OwnedStore(Store, Generic[EntityT]):
    """Rows of one kind, each found by its id."""

    kind: ClassVar[str]
    row: ClassVar[type[OwnedRow]]
    entity: type[EntityT]
    changeable: ClassVar[frozenset[str]] = frozenset()

    async def get(self, id: UUID) -> EntityT:
        """Return the row of that id, or raise `NotFoundError`."""
        found = await self._session.scalar(select(self.row).where(*self._is(id)))
        return self._entity(found, id)

    async def list(self, limit: int = 100, before: UUID | None = None) -> builtins.list[EntityT]:
        """Return the newest rows first; `before` is the last id of the page before."""
        return await self._page(limit, before)

    async def delete(self, id: UUID) -> None:
        """Delete the row of that id with all that hangs on it, or raise `NotFoundError`."""
        gone = await self._session.scalar(
            delete(self.row).where(*self._is(id)).returning(self.row.id)
        )
        if gone is None:
            raise NotFoundError(self.kind, id)

    @property
    def _time(self) -> InstrumentedAttribute[Any]:
        """The column that lists are sorted by."""
        return self.row.created_at

    async def _check_conversation(self, id: UUID | None) -> None:
        """Raise `NotFoundError` for a chat that is not the owner's: foreign keys see all rows."""
        if id is not None:
            owned = (ConversationRow.id == id, ConversationRow.owner_id == self._owner_id)
            if await self._session.scalar(select(ConversationRow.id).where(*owned)) is None:
                raise NotFoundError("conversation", id)

    def _is(self, id: UUID) -> tuple[ColumnElement[bool], ...]:
        return self.row.id == id, self.row.owner_id == self._owner_id

    def _entity(self, row: OwnedRow | None, id: UUID) -> EntityT:
        if row is None:
            raise NotFoundError(self.kind, id)
        return self._checked(row)

    def _checked(self, row: OwnedRow | None) -> EntityT:
        """Return a row as its entity; one that breaks the schema is not kept."""
        try:
            return self._read(row)
        except ValidationError as error:
            wrong = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors() if e["loc"])
            raise InputError(f"A {self.kind} cannot be stored so: {wrong}.") from error

    async def _page(
        self, limit: int | None, before: UUID | None, *conditions: ColumnElement[bool]
    ) -> builtins.list[EntityT]:
        order = tuple_(self._time, self.row.id)
        query = select(self.row).where(self.row.owner_id == self._owner_id, *conditions)
        if before is not None:
            last = select(self._time, self.row.id).where(*self._is(before)).subquery()
            query = query.where(order < select(last).scalar_subquery())
        rows = await self._session.scalars(
            query.order_by(self._time.desc(), self.row.id.desc()).limit(limit)
        )
        return [self._read(row) for row in rows]

    def _read(self, row: OwnedRow | None) -> EntityT:
        return self.entity.model_validate(row, from_attributes=True)

    async def _insert(self, **values: Any) -> EntityT:
        row = await self._session.scalar(
            insert(self.row).values(owner_id=self._owner_id, **values).returning(self.row)
        )
        return self._checked(row)

    async def _update(self, id: UUID, fields: Mapping[str, Any]) -> EntityT:
        values = self._changes(fields)
        if not values:
            return await self.get(id)
        return self._entity(await self._changed(values, *self._is(id)), id)

    def _changes(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return fields as columns take them, or raise `InputError` for what cannot change."""
        for name in fields.keys() - self.changeable:
            known = sorted(self.changeable)
            raise InputError(
                f"A {self.kind} has no `{name}` to change.{nearest(name, known)} "
                f"What can change: {', '.join(known)}."
            )
        return {name: plain(value) for name, value in fields.items()}

    async def _changed(
        self, values: Mapping[str, Any], *conditions: ColumnElement[bool]
    ) -> OwnedRow | None:
        return await self._session.scalar(
            update(self.row).where(*conditions).values(values).returning(self.row),
            execution_options={"populate_existing": True},
        )


@contextmanager
def free_name(kind: str, name: str | None) -> Iterator[None]:
    """Say which name is taken: under row-level security PostgreSQL does not."""
    try:
        yield
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        raise ConflictError(f"You have a {kind} `{name}` already; choose another name.") from error


def plain(value: Any) -> Any:
    """Return what a JSON column stores for an entity; other values stay as they are."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value
