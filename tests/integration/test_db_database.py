"""Connections: what they survive, and what people read when they fail."""

import asyncio
from contextlib import suppress

import psycopg
import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

from lab.db import Database, EmbeddedPostgres
from lab.errors import ConfigError, DatabaseError
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.user import User
from tests.ports import free_port

pytestmark = pytest.mark.integration

SMALL = DatabaseConfig(pool_size=2, connect_timeout_s=1)


async def end_all_connections(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
async def test_urls_of_every_spelling_connect(database_url: str, scheme: str) -> None:
    url = database_url.replace("postgresql", scheme, 1)

    async with Database(SMALL, url) as database:
        await database.check()


@pytest.mark.parametrize("url", ["mysql://a:secret@b/c", "nonsense", "postgresql://a:secret@[b/c"])
async def test_what_is_no_url_is_a_clear_error(url: str) -> None:
    with pytest.raises(ConfigError, match="LAB_DATABASE_URL") as caught:
        Database(SMALL, url)

    assert "secret" not in str(caught.value)


async def test_no_server_is_a_clear_error_without_the_password() -> None:
    url = f"postgresql://lab:secret@127.0.0.1:{free_port()}/lab"

    with pytest.raises(DatabaseError, match="Start the database") as caught:
        await Database(SMALL, url).open()

    assert "secret" not in str(caught.value)


async def test_a_wrong_password_is_refused_at_once(database_server: EmbeddedPostgres) -> None:
    password = psycopg.conninfo.conninfo_to_dict(database_server.url())["password"]
    url = database_server.url().replace(str(password), "guess")

    with pytest.raises(DatabaseError, match="password authentication failed"):
        await asyncio.wait_for(Database(DatabaseConfig(), url).open(), 5)


@pytest.mark.parametrize("n_connections", [1, 8])
async def test_lost_connections_are_replaced(
    database_url: str, database: Database, n_connections: int
) -> None:
    """After a restart of the server all of them are, and nobody waits for each in turn."""
    config = DatabaseConfig(pool_size=n_connections, connect_timeout_s=4)
    all_held = asyncio.Barrier(n_connections)

    async def hold(held: Database) -> None:
        async with held.pool.connection():
            await all_held.wait()

    async with Database(config, database_url) as busy:
        await asyncio.gather(*(hold(busy) for _ in range(n_connections)))
        await end_all_connections(database_url)

        async with busy.accounts() as accounts:
            assert await accounts.list() == []


async def test_a_connection_lost_half_way_is_an_error_and_stores_nothing(
    database: Database, database_url: str
) -> None:
    async def work() -> None:
        async with database.accounts() as accounts:
            await accounts.get_or_create("ann")
            await end_all_connections(database_url)
            await accounts.get_or_create("bob")

    with pytest.raises(DatabaseError, match="nothing of this step was stored"):
        await work()

    async with database.accounts() as accounts:
        assert await accounts.list() == []


async def test_more_work_than_connections_waits_its_turn(
    database_url: str, database: Database, owner: User
) -> None:
    async def work(small: Database, n: int) -> None:
        async with small.stores(owner.id) as stores:
            await stores.conversations.create(str(n))
            await asyncio.sleep(0.01)

    async with Database(SMALL, database_url) as small:
        await asyncio.gather(*(work(small, n) for n in range(10)))

    async with database.stores(owner.id) as stores:
        assert len(await stores.conversations.list()) == 10


async def test_waiting_for_a_connection_ends(database_url: str, database: Database) -> None:
    async with (
        Database(SMALL, database_url) as small,
        small.accounts() as one,
        small.accounts() as two,
    ):
        await one.list()
        await two.list()
        with pytest.raises(DatabaseError, match="busy"):
            await small.check()


async def test_cancelled_work_gives_its_connection_back(
    database_url: str, database: Database
) -> None:
    async def work(small: Database, begun: asyncio.Event) -> None:
        async with small.accounts() as accounts:
            await accounts.get_or_create("ann")
            begun.set()
            await asyncio.sleep(60)

    async with Database(SMALL, database_url) as small:
        for _ in range(5):
            task = asyncio.create_task(work(small, begun := asyncio.Event()))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async with small.accounts() as one, small.accounts() as two:
            assert await one.list() == await two.list() == []


async def test_a_cancellation_that_a_library_drops_is_heeded(database: Database) -> None:
    async def work(begun: asyncio.Event) -> None:
        async with database.accounts() as accounts:
            await accounts.list()
            begun.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        pytest.fail("the task went on")

    task = asyncio.create_task(work(begun := asyncio.Event()))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_task_can_still_store_how_it_ended(
    database: Database, owner: User
) -> None:
    async def work(begun: asyncio.Event) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            async with database.stores(owner.id) as stores:
                await stores.conversations.create("cancelled")

    task = asyncio.create_task(work(begun := asyncio.Event()))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    async with database.stores(owner.id) as stores:
        assert [c.title for c in await stores.conversations.list()] == ["cancelled"]


async def test_the_checkpointer_shares_the_connections(database: Database) -> None:
    saver = AsyncPostgresSaver(database.pool)

    assert await saver.aget_tuple({"configurable": {"thread_id": "none"}}) is None


async def test_what_the_pool_reports_is_translated(database: Database, database_url: str) -> None:
    async def work() -> None:
        with database.guarded():
            async with database.pool.connection() as connection:
                await end_all_connections(database_url)
                await connection.execute("SELECT 1")

    with pytest.raises(DatabaseError):
        await work()
