"""Documents that programs keep for a user, by namespace and key."""

import builtins
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from lab.db.owned import Store
from lab.db.tables import StoreItemRow
from lab.errors import InputError, NotFoundError
from lab.schemas.store_item import StoreItem

LONGEST_PART: Final = 64
"""Characters of a part of a namespace: a row of an index holds a whole one with its key."""


class StoreItemStore(Store):
    """Documents of one user."""

    async def put(self, namespace: Sequence[str], key: str, value: Mapping[str, Any]) -> None:
        """
        Store a document, in the place of the one that is there.

        Raises
        ------
        InputError
            If a part of the namespace is too long to be looked up.
        """
        if long := [part for part in namespace if len(part) > LONGEST_PART]:
            raise InputError(
                f"`namespace` has a part of {len(long[0])} characters; give each at most "
                f"{LONGEST_PART}."
            )
        new = insert(StoreItemRow).values(
            owner_id=self._owner_id, namespace=list(namespace), key=key, value=dict(value)
        )
        await self._session.execute(
            new.on_conflict_do_update(
                index_elements=["owner_id", "namespace", "key"],
                set_={"value": new.excluded["value"], "updated_at": func.clock_timestamp()},
            )
        )

    async def get(self, namespace: Sequence[str], key: str) -> StoreItem:
        """Return a document, or raise `NotFoundError`."""
        row = await self._session.scalar(select(StoreItemRow).where(*self._is(namespace, key)))
        if row is None:
            raise NotFoundError("item", "/".join([*namespace, key]))
        return StoreItem.model_validate(row, from_attributes=True)

    async def delete(self, namespace: Sequence[str], key: str) -> None:
        """Delete a document, or raise `NotFoundError`."""
        gone = await self._session.scalar(
            delete(StoreItemRow).where(*self._is(namespace, key)).returning(StoreItemRow.id)
        )
        if gone is None:
            raise NotFoundError("item", "/".join([*namespace, key]))

    async def search(
        self,
        prefix: Sequence[str] = (),
        holds: Mapping[str, Any] | None = None,
        *,
        limit: int = 10,
        offset: int = 0,
    ) -> builtins.list[StoreItem]:
        """Return documents under a namespace that hold such values, the one stored last first."""
        query = select(StoreItemRow).where(self._mine(), *_begins(prefix))
        if holds:
            query = query.where(StoreItemRow.value.contains(dict(holds)))
        rows = await self._session.scalars(
            query.order_by(StoreItemRow.updated_at.desc(), StoreItemRow.id.desc())
            .limit(limit)
            .offset(offset)
        )
        return [StoreItem.model_validate(row, from_attributes=True) for row in rows]

    async def namespaces(
        self,
        prefix: Sequence[str] = (),
        suffix: Sequence[str] = (),
        *,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> builtins.list[builtins.list[str]]:
        """Return the namespaces that hold something, in order, or their first parts."""
        shown = StoreItemRow.namespace[1:max_depth] if max_depth else StoreItemRow.namespace
        conditions = [self._mine(), *_begins(prefix)]
        if suffix:
            length = func.cardinality(StoreItemRow.namespace)
            end = StoreItemRow.namespace[length - (len(suffix) - 1) : length]
            conditions += [length >= len(suffix), end == list(suffix)]
        found = await self._session.scalars(
            select(shown).where(*conditions).distinct().order_by(shown).limit(limit).offset(offset)
        )
        return [list(namespace) for namespace in found]

    def _mine(self) -> ColumnElement[bool]:
        return StoreItemRow.owner_id == self._owner_id

    def _is(self, namespace: Sequence[str], key: str) -> tuple[ColumnElement[bool], ...]:
        return self._mine(), StoreItemRow.namespace == list(namespace), StoreItemRow.key == key


def _begins(prefix: Sequence[str]) -> builtins.list[ColumnElement[bool]]:
    return [StoreItemRow.namespace[1 : len(prefix)] == list(prefix)] if prefix else []
