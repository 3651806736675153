"""
What every store of owned rows must do; a subclass names a store and how it makes a row.

The tests run on a real PostgreSQL: the fixtures come from `tests/integration/conftest.py`.
"""

from abc import ABC, abstractmethod
from typing import Any
from uuid import UUID

import pytest

from lab.db import Database, Stores
from lab.db.ids import new_id
from lab.errors import NotFoundError
from lab.schemas.user import User


class OwnedStoreContract(ABC):
    """Tests that every store passes."""

    name: str
    """Attribute of `Stores`."""

    @abstractmethod
    async def create(self, stores: Stores) -> Any:
        """Make one more row and return its entity."""

    async def listed(self, stores: Stores, like: Any) -> list[Any]:
        """Return the list that would hold a row."""
        return await self.store(stores).list()

    async def change(self, stores: Stores, id: UUID) -> None:
        """Change a row; stores without changes leave this out."""
        await self.store(stores).get(id)

    def store(self, stores: Stores) -> Any:
        return getattr(stores, self.name)

    async def test_what_is_created_is_read_back(self, database: Database, owner: User) -> None:
        async with database.stores(owner.id) as stores:
            created = await self.create(stores)
        async with database.stores(owner.id) as stores:
            assert await self.store(stores).get(created.id) == created

        assert created.owner_id == owner.id
        assert created.created_at.tzinfo is not None

    async def test_ids_grow_with_time(self, database: Database, owner: User) -> None:
        async with database.stores(owner.id) as stores:
            first, second = await self.create(stores), await self.create(stores)

        assert first.id < second.id

    async def test_the_list_holds_each_row_once(self, database: Database, owner: User) -> None:
        async with database.stores(owner.id) as stores:
            rows = [await self.create(stores) for _ in range(3)]
            listed = [row.id for row in await self.listed(stores, rows[0])]

        assert all(listed.count(row.id) == 1 for row in rows)

    async def test_what_is_deleted_is_gone(self, database: Database, owner: User) -> None:
        async with database.stores(owner.id) as stores:
            kept, gone = await self.create(stores), await self.create(stores)
            await self.store(stores).delete(gone.id)
        async with database.stores(owner.id) as stores:
            assert await self.store(stores).get(kept.id)
            with pytest.raises(NotFoundError):
                await self.store(stores).get(gone.id)

    @pytest.mark.parametrize("method", ["get", "delete", "change"])
    async def test_an_unknown_id_is_not_found(
        self, database: Database, owner: User, method: str
    ) -> None:
        with pytest.raises(NotFoundError):
            async with database.stores(owner.id) as stores:
                await self._call(stores, method, new_id())

    @pytest.mark.parametrize("method", ["get", "delete", "change"])
    async def test_a_row_of_another_user_is_not_found_and_stays(
        self, database: Database, owner: User, other_owner: User, method: str
    ) -> None:
        async with database.stores(owner.id) as stores:
            theirs = await self.create(stores)
        with pytest.raises(NotFoundError):
            async with database.stores(other_owner.id) as stores:
                await self._call(stores, method, theirs.id)

        async with database.stores(owner.id) as stores:
            assert await self.store(stores).get(theirs.id) == theirs

    async def test_a_list_never_holds_rows_of_another_user(
        self, database: Database, owner: User, other_owner: User
    ) -> None:
        async with database.stores(owner.id) as stores:
            theirs = await self.create(stores)
        async with database.stores(other_owner.id) as stores:
            mine = await self.create(stores)
            listed = await self.listed(stores, mine)

        assert mine.id in {row.id for row in listed}
        assert theirs.id not in {row.id for row in listed}

    async def test_a_failed_block_leaves_nothing(self, database: Database, owner: User) -> None:
        created = []

        async def fail() -> None:
            async with database.stores(owner.id) as stores:
                created.append(await self.create(stores))
                raise RuntimeError("on purpose")

        with pytest.raises(RuntimeError, match="on purpose"):
            await fail()

        with pytest.raises(NotFoundError):
            async with database.stores(owner.id) as stores:
                await self.store(stores).get(created[0].id)

    async def test_rows_end_with_their_user(self, database: Database, owner: User) -> None:
        async with database.stores(owner.id) as stores:
            created = await self.create(stores)
        async with database.accounts() as accounts:
            await accounts.mark_interrupted()
            await accounts.delete(owner.name)
        with pytest.raises(NotFoundError):
            async with database.stores(owner.id) as stores:
                await self.store(stores).get(created.id)

    async def _call(self, stores: Stores, method: str, id: UUID) -> None:
        if method == "change":
            await self.change(stores, id)
        else:
            await getattr(self.store(stores), method)(id)


class PagedStoreContract(OwnedStoreContract):
    """Tests of stores whose lists come in pages, newest first."""

    async def test_pages_follow_each_other_newest_first(
        self, database: Database, owner: User
    ) -> None:
        async with database.stores(owner.id) as stores:
            ids = [(await self.create(stores)).id for _ in range(5)]
            first = [row.id for row in await self.store(stores).list(2)]
            second = [row.id for row in await self.store(stores).list(10, before=first[-1])]

        assert first + second == ids[::-1]
