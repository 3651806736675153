"""The cache, over this process's memory and over a real Redis that dies and comes back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from pydantic import TypeAdapter
from structlog.testing import capture_logs

from lab.db import Database, EmbeddedPostgres, upgrade
from lab.db.cache import Cache, open_cache
from lab.db.changes import TELL_OF_ALL
from lab.db.ids import new_id
from lab.db.presence import WORK
from lab.errors import NotFoundError
from lab.schemas.cache_config import CacheConfig
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.user import User
from tests.integration.conftest import until_somebody_waits
from tests.redis_server import RedisServer

pytestmark = pytest.mark.integration

SETTINGS = TypeAdapter(dict[str, Any])
FIRST = {"memory": {"top_k": 1}}


class Process:
    """What one process of the lab has: a database it attends, and a cache of it."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self.database = database
        self.cache = cache
        self.n_loads = 0

    async def settings(self, owner: User, ttl_s: float | None = None) -> dict[str, Any]:
        """Return the settings of a user, as the runtime reads them."""

        async def stored() -> dict[str, Any]:
            self.n_loads += 1
            async with self.database.stores(owner.id) as stores:
                return await stores.config.get()

        return await self.cache.get(
            f"settings:{owner.id}", SETTINGS, stored, owner_of=lambda _: owner.id, ttl_s=ttl_s
        )

    async def store(self, owner: User, values: dict[str, Any]) -> None:
        """Change the settings of a user, as a command does: without a cache."""
        async with self.database.stores(owner.id) as stores:
            await stores.config.set(values)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not holds():
                await asyncio.sleep(0.01)

    async def until_redis(self) -> None:
        await self.until(lambda: self.cache.state == "redis")

    async def until_heard(self, n: int) -> None:
        await self.until(lambda: self.database.changes.n_heard >= n)


@asynccontextmanager
async def process(url: str, /, **settings: Any) -> AsyncIterator[Process]:
    config = CacheConfig.model_validate(settings)
    async with (
        Database(DatabaseConfig(), url) as database,
        database.attended(),
        open_cache(config, database) as cache,
    ):
        one = Process(database, cache)
        await one.until(lambda: database.changes.is_listening)
        yield one


@asynccontextmanager
async def kept_from_listening(url: str) -> AsyncIterator[None]:
    """Cut the connections on which labs listen, and hold them up when they come again."""
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as alone,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as admin,
    ):
        held = f"FROM pg_locks WHERE locktype = 'advisory' AND classid = {WORK} AND granted"
        numbers = await (await admin.execute(f"SELECT objid {held}".encode())).fetchall()
        waiting = asyncio.create_task(
            alone.execute(
                "SELECT pg_advisory_lock(%s, number) FROM unnest(%s::integer[]) AS number",
                [WORK, [number for (number,) in numbers]],
            )
        )
        await until_somebody_waits(admin)
        await admin.execute(f"SELECT pg_terminate_backend(pid) {held}".encode())
        await waiting
        yield


class CacheContract:
    """What holds wherever copies lie; a subclass says where, as `where`."""

    @pytest.fixture
    async def one(
        self, where: dict[str, Any], database_url: str, owner: User
    ) -> AsyncIterator[Process]:
        async with process(database_url, **where) as one:
            yield one

    @pytest.fixture
    async def two(
        self, where: dict[str, Any], database_url: str, owner: User
    ) -> AsyncIterator[Process]:
        async with process(database_url, **where) as two:
            yield two

    async def test_what_was_read_is_not_loaded_again(self, one: Process, owner: User) -> None:
        await one.store(owner, FIRST)
        await one.until_heard(1)

        assert [await one.settings(owner) for _ in range(3)] == [FIRST] * 3

        assert one.n_loads == 1
        assert (one.cache.stats.hits, one.cache.stats.misses) == (2, 1)

    async def test_a_thousand_readers_cause_one_load(self, one: Process, owner: User) -> None:
        await one.store(owner, FIRST)
        await one.until_heard(1)

        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(one.settings(owner)) for _ in range(1000)]

        assert all(reader.result() == FIRST for reader in readers)
        assert one.n_loads == 1

    async def test_a_reader_who_leaves_does_not_take_the_answer_along(
        self, one: Process, owner: User
    ) -> None:
        may_answer = asyncio.Event()
        n_loads = 0

        async def slowly() -> dict[str, Any]:
            nonlocal n_loads
            n_loads += 1
            await may_answer.wait()
            return FIRST

        def ask() -> Coroutine[Any, Any, dict[str, Any]]:
            return one.cache.get("x", SETTINGS, slowly, owner_of=lambda _: owner.id)

        first, second = asyncio.create_task(ask()), asyncio.create_task(ask())
        await one.until(lambda: n_loads == 1)
        first.cancel()
        await asyncio.wait([first])
        may_answer.set()

        assert await second == FIRST
        assert n_loads == 1

    async def test_what_another_process_changed_is_not_served(
        self, one: Process, two: Process, owner: User
    ) -> None:
        assert await one.settings(owner) == await two.settings(owner) == {}

        await one.store(owner, FIRST)
        await two.until_heard(1)

        assert await two.settings(owner) == FIRST

    async def test_who_changed_it_sees_it_and_keeps_the_copy(
        self, one: Process, two: Process, owner: User
    ) -> None:
        await one.settings(owner)

        await one.store(owner, FIRST)
        await one.cache.drop(owner.id)
        renewed = await one.settings(owner)
        await one.until_heard(2)  # its own note, and what the database delivered

        assert renewed == await one.settings(owner) == FIRST
        assert one.n_loads == 2

    async def test_a_load_that_began_before_a_change_is_not_kept(
        self, one: Process, two: Process, owner: User
    ) -> None:
        loaded, may_go_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> dict[str, Any]:
            async with one.database.stores(owner.id) as stores:
                found = await stores.config.get()
            loaded.set()
            await may_go_on.wait()
            return found

        name = f"settings:{owner.id}"
        early = asyncio.create_task(
            one.cache.get(name, SETTINGS, slowly, owner_of=lambda _: owner.id)
        )
        await loaded.wait()
        await two.store(owner, FIRST)
        await one.until_heard(1)
        late = await one.settings(owner)
        may_go_on.set()

        assert await early == {}
        assert late == await one.settings(owner) == await two.settings(owner) == FIRST

    async def test_a_copy_ends_with_its_time(self, one: Process, owner: User) -> None:
        await one.settings(owner, ttl_s=0.2)
        await asyncio.sleep(0.3)
        await one.settings(owner)

        assert one.n_loads == 2

    async def test_what_a_load_raises_is_raised_and_not_kept(
        self, one: Process, owner: User
    ) -> None:
        async def nothing() -> dict[str, Any]:
            raise NotFoundError("user", "carl")

        for _ in range(2):
            with pytest.raises(NotFoundError, match="carl"):
                await one.cache.get("x", SETTINGS, nothing, owner_of=lambda _: owner.id)
        assert one.cache.stats.misses == 2

    async def test_a_change_of_one_leaves_the_copies_of_another(
        self, one: Process, owner: User, other_owner: User
    ) -> None:
        await one.settings(owner)
        await one.settings(other_owner)

        await one.store(other_owner, FIRST)
        await one.until_heard(1)
        await one.settings(owner)

        assert one.n_loads == 2

    async def test_a_restore_ends_every_copy(
        self, one: Process, owner: User, database_url: str
    ) -> None:
        await one.settings(owner)
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await connection.execute(TELL_OF_ALL.encode())
        await one.until_heard(1)

        await one.settings(owner)
        await one.settings(owner)

        assert one.n_loads == 2

    async def test_while_the_database_is_not_heard_nothing_is_copied(
        self, one: Process, owner: User, database_url: str
    ) -> None:
        await one.settings(owner)
        async with kept_from_listening(database_url):
            await one.until(lambda: not one.database.changes.is_listening)
            await one.store(owner, FIRST)  # nobody hears it
            during = [await one.settings(owner) for _ in range(2)]

        assert during == [FIRST, FIRST]
        assert one.n_loads == 3
        await one.until(lambda: one.database.changes.is_listening)
        assert await one.settings(owner) == FIRST

    async def test_what_others_tell_on_the_channel_does_no_harm(
        self, one: Process, owner: User, database_url: str
    ) -> None:
        await one.settings(owner)
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await connection.execute("NOTIFY lab_changes, 'good morning'")
        await one.store(owner, FIRST)

        async with asyncio.timeout(5):
            while await one.settings(owner) != FIRST:
                await asyncio.sleep(0.01)

    async def test_nothing_is_left_of_a_user_who_is_deleted(
        self, one: Process, two: Process, owner: User, other_owner: User
    ) -> None:
        for each in (one, two):
            await each.settings(owner)
            await each.settings(other_owner)

        async with two.database.accounts() as accounts:
            await accounts.delete(owner.name)
        await one.until_heard(1)
        await two.until_heard(1)
        await asyncio.sleep(0.1)

        for each in (one, two):
            await each.settings(owner)  # a request that was let in before
            assert not await held(each.cache, owner.id)
            assert await held(each.cache, other_owner.id)


async def held(cache: Cache, owner_id: UUID) -> list[str]:
    """Return every key and value of a cache in which the id of a user stands."""
    found = []
    for store in cache._stores():
        async for key in store.scan("*"):
            value = await store.get(key) if ":copy:" in key else ""
            if str(owner_id) in f"{key} {value}":
                found.append(key)
    return found


class TestInProcess(CacheContract):
    @pytest.fixture
    def where(self) -> dict[str, Any]:
        return {}

    async def test_the_longest_unused_copy_goes_first(
        self, database_url: str, database: Database
    ) -> None:
        async with database.accounts() as accounts:
            users = [await accounts.get_or_create(f"user{n}") for n in range(20)]
        async with process(database_url, max_entries=10) as one:
            for user in users:
                await one.settings(user)
            assert one.n_loads == 20
            await one.settings(users[-1])
            assert one.n_loads == 20
            await one.settings(users[0])
            assert one.n_loads == 21


class TestRedis(CacheContract):
    @pytest.fixture
    def where(self, redis_server: RedisServer) -> dict[str, Any]:
        return {"url": redis_server.url, "timeout_s": 0.3}

    async def test_one_process_reads_what_another_loaded(
        self, one: Process, two: Process, owner: User
    ) -> None:
        await one.store(owner, FIRST)
        await two.until_heard(1)
        await one.settings(owner)

        assert await two.settings(owner) == FIRST
        assert (one.n_loads, two.n_loads) == (1, 0)
        assert one.cache.state == "redis"

    async def test_a_change_reaches_the_others_without_waiting_for_what_they_hear(
        self, one: Process, two: Process, owner: User
    ) -> None:
        await two.settings(owner)
        await two.settings(owner)

        await one.store(owner, FIRST)
        await one.cache.drop(owner.id)

        assert await two.settings(owner) == FIRST

    async def test_a_redis_that_dies_is_told_once_and_missed_by_nobody(
        self, one: Process, owner: User, redis_server: RedisServer
    ) -> None:
        await one.store(owner, FIRST)
        await one.until_heard(1)
        await one.settings(owner)

        with capture_logs() as logs:
            await redis_server.kill()
            during = [await one.settings(owner) for _ in range(3)]
            lost = one.cache.state
            await redis_server.start()
            await one.until_redis()

        assert during == [FIRST] * 3
        assert lost == "redis lost, process"
        assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["cache lost"]
        assert one.cache.stats.errors == 1
        assert str(redis_server.port) in logs[0]["place"]
        assert "correct-horse" not in str(logs)

    async def test_a_redis_that_takes_nothing_more_is_told_once(
        self, one: Process, owner: User, redis_server: RedisServer
    ) -> None:
        """It is full, and answers all the same."""
        async with redis_server.client() as client:
            await client.config_set("maxmemory", "1")
        with capture_logs() as logs:
            assert [await one.settings(owner) for _ in range(2)] == [{}, {}]
            await asyncio.sleep(1.5)
        assert [line["event"] for line in logs] == ["cache lost"]
        assert "used memory > 'maxmemory'" in logs[0]["error"]

        async with redis_server.client() as client:
            await client.config_set("maxmemory", "0")
        await one.until_redis()

    async def test_a_redis_that_hangs_costs_one_timeout(
        self, one: Process, owner: User, redis_server: RedisServer
    ) -> None:
        await one.settings(owner)
        redis_server.freeze()
        try:
            async with asyncio.timeout(2):
                for _ in range(20):
                    await one.settings(owner)
        finally:
            redis_server.freeze(frozen=False)
        await one.until_redis()

    async def test_what_changed_while_redis_was_away_is_not_served_when_it_is_back(
        self, one: Process, two: Process, owner: User, redis_server: RedisServer
    ) -> None:
        """Redis comes back with the copies that it wrote to its file before."""
        await one.settings(owner)
        async with redis_server.client() as client:
            await client.save()
        await redis_server.kill()
        await one.store(owner, FIRST)
        await two.until_heard(1)
        await one.until_heard(1)
        await one.settings(owner)
        await redis_server.start()
        assert any(str(owner.id) in text for text in (await redis_server.contents()).values())
        for each in (one, two):
            await each.until_redis()

        assert await two.settings(owner) == await one.settings(owner) == FIRST

    async def test_a_process_that_starts_believes_nothing_older_than_itself(
        self, database_url: str, where: dict[str, Any], owner: User
    ) -> None:
        """A command may have changed it while no process was there to hear."""
        async with process(database_url, **where) as before:
            await before.settings(owner)
        async with (
            Database(DatabaseConfig(), database_url) as database,
            database.stores(owner.id) as stores,
        ):
            await stores.config.set(FIRST)

        async with process(database_url, **where) as after:
            assert await after.settings(owner) == FIRST

    async def test_a_redis_that_is_not_there_at_the_start_is_found_later(
        self, database_url: str, owner: User, redis_server: RedisServer
    ) -> None:
        await redis_server.kill()
        async with process(database_url, url=redis_server.url) as one:
            assert one.cache.state == "redis lost, process"
            assert [await one.settings(owner) for _ in range(2)] == [{}, {}]
            assert one.n_loads == 1
            await redis_server.start()
            await one.until_redis()
            await one.settings(owner)
            assert str(owner.id) in f"{await redis_server.contents()}"

    async def test_what_somebody_else_wrote_there_is_no_copy(
        self, one: Process, owner: User, redis_server: RedisServer
    ) -> None:
        await one.settings(owner)
        async with redis_server.client() as client:
            for key in await redis_server.contents():
                if ":copy:" in key:
                    await client.set(key, "\x80 no JSON")

        assert await one.settings(owner) == {}
        assert await one.settings(owner) == {}
        assert one.n_loads == 2
        await one.cache.forget(owner.id)
        assert str(owner.id) not in f"{await redis_server.contents()}"

    async def test_labs_with_databases_of_their_own_share_a_redis(
        self, one: Process, owner: User, where: dict[str, Any], database_server: EmbeddedPostgres
    ) -> None:
        """Also when one database is a copy of the other, with the same people."""
        name = f"test_{new_id().hex}"
        await database_server.create_database(name)
        await upgrade(database_server.url(name))
        async with process(database_server.url(name), **where) as other:
            await one.store(owner, FIRST)
            await one.until_heard(1)
            assert await one.settings(owner) == FIRST
            assert await other.settings(owner) == {}
            assert await one.settings(owner) == FIRST
        assert (one.n_loads, other.n_loads) == (1, 1)


async def test_a_change_of_settings_is_heard_by_many_processes(
    database_url: str, owner: User, redis_server: RedisServer
) -> None:
    """Readers who ask all the time end with the last value."""
    async with AsyncExitStack() as stack:
        four = [
            await stack.enter_async_context(process(database_url, url=redis_server.url))
            for _ in range(4)
        ]
        writer, *readers = four
        seen: list[list[int]] = [[] for _ in readers]
        is_over = asyncio.Event()

        async def read(reader: Process, mine: list[int]) -> None:
            while not is_over.is_set():
                found = await reader.settings(owner)
                mine.append(found.get("memory", {}).get("top_k", 0))
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for reader, mine in zip(readers, seen, strict=True):
                group.create_task(read(reader, mine))
            for n in range(1, 31):
                await writer.store(owner, {"memory": {"top_k": n}})
                await writer.cache.drop(owner.id)
                await asyncio.sleep(0.01)
            for each in readers:
                await each.until_heard(30)
            last = [await reader.settings(owner) for reader in readers]
            is_over.set()

    assert last == [{"memory": {"top_k": 30}}] * 3
    assert all(len(set(mine)) > 1 for mine in seen)
