"""
What every store of owned rows must do; a subclass names a store and how it makes a row.

The tests run on a real PostgreSQL: the fixtures come from `tests/integration/conftest.py`.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Any
from uuid import UUID

import pytest

from lab.db import Database, Stores
from lab.db.ids import new_id
from lab.errors import ConflictError, NotFoundError
from lab.schemas.user import User
from tests.integration.conftest import until_somebody_waits


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


class VersionedStoreContract(PagedStoreContract):
    """Tests of stores whose rows two may want to change at once."""

    changes: dict[str, Any]
    """Fields that `update` takes."""

    async def change(self, stores: Stores, id: UUID) -> None:
        await self.store(stores).update(id, 1, **self.changes)

    async def test_a_change_makes_the_next_version(self, database: Database, owner: User) -> None:
        async with database.stores(owner.id) as stores:
            created = await self.create(stores)
            changed = await self.store(stores).update(created.id, created.version, **self.changes)
        async with database.stores(owner.id) as stores:
            assert await self.store(stores).get(created.id) == changed

        assert (created.version, changed.version) == (1, 2)
        assert changed == changed.model_copy(update=self.changes)

    async def test_a_change_to_an_earlier_version_is_told_and_not_made(
        self, database: Database, owner: User
    ) -> None:
        async with database.stores(owner.id) as stores:
            created = await self.create(stores)
            changed = await self.store(stores).update(created.id, 1, **self.changes)
            with pytest.raises(ConflictError, match=r"is at version 2, and .* made to version 1;"):
                await self.store(stores).update(created.id, 1, **self.changes)
        async with database.stores(owner.id) as stores:
            assert await self.store(stores).get(created.id) == changed

    async def test_of_two_who_write_at_once_the_second_is_told(
        self, database: Database, owner: User
    ) -> None:
        async with database.stores(owner.id) as stores:
            created = await self.create(stores)

        async def write() -> None:
            async with database.stores(owner.id) as stores:
                await self.store(stores).update(created.id, 1, **self.changes)

        async with database.stores(owner.id) as stores:
            changed = await self.store(stores).update(created.id, 1, **self.changes)
            second = asyncio.create_task(write())
            async with database.pool.connection() as watcher:
                await until_somebody_waits(watcher)
        with pytest.raises(ConflictError, match="is at version 2"):
            await second

        async with database.stores(owner.id) as stores:
            assert await self.store(stores).get(created.id) == changed
