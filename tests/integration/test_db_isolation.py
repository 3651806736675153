"""Row-level security: a statement that forgets its owner reads and writes nothing of others."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from sqlalchemy import Table, delete, insert, literal, select, text, update
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db import Database, EmbeddedPostgres, Stores, upgrade
from lab.db.accounts import Accounts
from lab.db.backups import backup, restore
from lab.db.cache import open_cache
from lab.db.facts import Statement
from lab.db.forgetting import forget
from lab.db.ids import new_id
from lab.db.isolation import RULE
from lab.db.maintenance import check, status, tend, vacuum
from lab.db.tables import OWNED
from lab.errors import DatabaseError
from lab.schemas.cache_config import CacheConfig
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.event_type import EventType
from lab.schemas.role import Role
from lab.schemas.run_kind import RunKind
from lab.schemas.scope import Scope
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.usage import Usage
from lab.schemas.user import User
from tests.integration import test_db_stores as contracts
from tests.integration.conftest import HEAD, execute

pytestmark = pytest.mark.integration

USAGE = Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5, queue_ms=100, total_ms=600)

every_table = pytest.mark.parametrize("table", OWNED, ids=lambda table: table.name)


def session_of(door: Stores | Accounts) -> AsyncSession:
    return door._session if isinstance(door, Accounts) else door.conversations._session


async def owners(door: Stores | Accounts, table: Table) -> set[UUID]:
    """Ask for all rows of a table, and return whose they are."""
    return set(await session_of(door).scalars(select(table.c.owner_id)))


async def fill(database: Database, user: User) -> None:
    """Give a user a row in every table that has an owner."""
    vector = np.ones(768, dtype=np.float32)
    async with database.stores(user.id) as stores:
        chat = await stores.conversations.create("chat")
        run = await stores.runs.create(RunKind.chat, "lab-tiny", {}, chat.id)
        await stores.events.append(run.id, 0, EventType.run_started, {})
        await stores.usage.add("lab-tiny", "lab-tiny", USAGE, run_id=run.id)
        message = await stores.messages.add(chat.id, Role.user, [], name="Cy", run_id=run.id)
        memory = await stores.memories.add(message, "My canary sings.", vector, vector, model="m@1")
        summary = await stores.summaries.add(
            [memory], level=1, text="", style=SummaryStyle.brief, model="m", n_tokens=0
        )
        assert summary is not None
        fact = Statement("canary", "A canary sings.")
        await stores.facts.add(summary, [fact], vector[None], model="m@1")
        for contract in (
            contracts.TestDocumentStore,
            contracts.TestImageStore,
            contracts.TestModelProfileStore,
            contracts.TestDynamicToolStore,
            contracts.TestTodoStore,
            contracts.TestSearchResultStore,
            contracts.TestResearchCitationStore,
            contracts.TestWebPageStore,
        ):
            await contract().create(stores)
        schedule = await stores.schedules.create("nightly", "0 3 * * *", "long_memory")
        await stores.eval_runs.create("long_memory", "", {}, schedule_id=schedule.id)
        await stores.api_keys.create("mine", [Scope.custom_lab_infer])
        await stores.config.set({"chat": {"max_new_tokens": 5}})
        await stores.items.put(["notes"], "one", {"text": "mine"})


@pytest.fixture
async def ann(database: Database, owner: User) -> User:
    await fill(database, owner)
    return owner


@pytest.fixture
async def bob(database: Database, other_owner: User) -> User:
    await fill(database, other_owner)
    return other_owner


@every_table
async def test_only_ones_own_rows_are_read(
    database: Database, ann: User, bob: User, table: Table
) -> None:
    async with database.stores(ann.id) as stores:
        assert await owners(stores, table) == {ann.id}


@every_table
async def test_a_door_without_an_owner_sees_all(
    database: Database, ann: User, bob: User, table: Table
) -> None:
    async with database.accounts() as accounts:
        assert await owners(accounts, table) == {ann.id, bob.id}


@every_table
async def test_rows_of_others_are_neither_changed_nor_deleted(
    database: Database, ann: User, bob: User, table: Table
) -> None:
    same = {table.c.owner_id: table.c.owner_id}
    async with database.stores(ann.id) as stores:
        session = session_of(stores)
        changed = await session.scalars(update(table).values(same).returning(table.c.owner_id))
        deleted = await session.scalars(delete(table).returning(table.c.owner_id))

        assert set(changed) == set(deleted) == {ann.id}
    async with database.accounts() as accounts:
        assert await owners(accounts, table) == {bob.id}


@every_table
async def test_nothing_is_written_for_another(
    database: Database, ann: User, bob: User, table: Table
) -> None:
    columns = [column for column in table.columns if column.computed is None]
    copy = select(*(literal(bob.id) if c.name == "owner_id" else c for c in columns))
    written = insert(table).from_select(columns, copy.select_from(table))
    given = update(table).values(owner_id=bob.id)

    for statement in (written, given):
        with pytest.raises(ProgrammingError, match="violates row-level security policy"):
            async with database.stores(ann.id) as stores:
                await session_of(stores).execute(statement)


async def test_every_table_with_an_owner_has_the_policy(database_url: str) -> None:
    """Asked of PostgreSQL, so that also a table that the code does not name is found."""
    found = await execute(
        database_url,
        """
        SELECT c.relname, c.relrowsecurity, array_agg(p.qual) FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'owner_id'
        LEFT JOIN pg_policies p ON p.schemaname = 'public' AND p.tablename = c.relname
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
            AND c.relnamespace = 'public'::regnamespace
        GROUP BY c.oid
        """,
    )
    policies = {name: (on, rules) for name, on, rules in found}

    assert policies.keys() == {table.name for table in OWNED}
    assert {name for name, policy in policies.items() if policy != (True, [RULE])} == set()


@pytest.mark.parametrize("table", ["users", "checkpoints", "alembic_version"])
async def test_what_is_nobodys_is_closed_to_users(
    database: Database, owner: User, table: str
) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with database.stores(owner.id) as stores:
            await session_of(stores).execute(text(f"SELECT FROM {table}"))


async def test_without_a_user_there_are_no_rows(database: Database, ann: User) -> None:
    async with database.accounts() as accounts:
        await session_of(accounts).execute(text("SET LOCAL ROLE pg_database_owner"))

        assert [await owners(accounts, table) for table in OWNED] == [set()] * len(OWNED)


async def test_the_next_transaction_of_a_connection_starts_afresh(
    database_url: str, database: Database, ann: User, bob: User
) -> None:
    (conversations,) = (table for table in OWNED if table.name == "conversations")
    who = text("SELECT pg_backend_pid(), current_user, current_setting('lab.owner_id', true)")

    async def fail(one: Database) -> None:
        async with one.stores(ann.id):
            raise RuntimeError("on purpose")

    async with Database(DatabaseConfig(pool_size=1), database_url) as one:
        async with one.stores(ann.id) as stores:
            pid, *inside = (await session_of(stores).execute(who)).one()
        with pytest.raises(RuntimeError, match="on purpose"):
            await fail(one)
        async with one.accounts() as accounts:
            after = (await session_of(accounts).execute(who)).one()
            seen = await owners(accounts, conversations)
        async with one.stores(bob.id) as stores:
            his = await owners(stores, conversations)

    assert inside == ["pg_database_owner", str(ann.id)]
    assert tuple(after) == (pid, "lab", "")
    assert (seen, his) == ({ann.id, bob.id}, {bob.id})


@pytest.fixture
async def plain_url(database_server: EmbeddedPostgres) -> AsyncIterator[str]:
    """Return the URL of an empty database whose owner may do nothing else on the server."""
    name, admin = f"test_{new_id().hex}", database_server.url("postgres")
    await execute(
        admin, f"CREATE ROLE {name} LOGIN PASSWORD 'p'", f"CREATE DATABASE {name} OWNER {name}"
    )
    await execute(database_server.url(name), "CREATE EXTENSION vector")
    yield f"postgresql://{name}:p@127.0.0.1:{database_server.port}/{name}"
    await execute(admin, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {name}")


async def test_a_user_without_rights_on_the_server_is_enough(
    plain_url: str, empty_url: str, tmp_path: Path
) -> None:
    await upgrade(plain_url)
    async with Database(DatabaseConfig(), plain_url) as database:
        async with database.accounts() as accounts:
            users = [await accounts.get_or_create(name) for name in ("ann", "bob")]
        for user in users:
            await fill(database, user)
        await assert_isolated(database, users)
    assert await check(plain_url, timeout_s=5) == []

    await backup(plain_url, tmp_path / "lab.backup", timeout_s=5)
    await restore(empty_url, tmp_path / "lab.backup", replace=False, timeout_s=5)

    assert await check(empty_url, timeout_s=5) == []
    async with Database(DatabaseConfig(), empty_url) as database:
        await assert_isolated(database, users)


async def test_an_owner_who_may_not_make_the_extension_is_told_who_can(
    plain_url: str, database_server: EmbeddedPostgres
) -> None:
    name = plain_url.rsplit("/", 1)[1]
    await execute(database_server.url(name), "DROP EXTENSION vector")

    with pytest.raises(DatabaseError, match="administrator run `CREATE EXTENSION vector` in it"):
        await upgrade(plain_url)


async def test_an_owner_without_other_rights_looks_after_the_database(
    plain_url: str, tmp_path: Path
) -> None:
    await upgrade(plain_url)
    config = DatabaseConfig(keep_events_days=1, keep_usage_days=1)
    async with Database(config, plain_url) as database, database.attended():
        async with open_cache(CacheConfig(), database) as cache, database.locked("x") as held:
            assert (held, cache.state) == (True, "process")
        async with database.accounts() as accounts:
            ann = await accounts.get_or_create("ann")
        async with database.stores(ann.id) as stores:
            await stores.conversations.create("x")
        assert await tend(plain_url, config) == []
        assert [n async for _, n in vacuum(plain_url, timeout_s=5)][-1] == 0
        await backup(plain_url, tmp_path / "lab.backup", timeout_s=5)
        await forget(database, tmp_path, "ann")
    await restore(plain_url, tmp_path / "lab.backup", replace=True, timeout_s=5)
    async with Database(config, plain_url) as database, database.stores(ann.id) as stores:
        assert [chat.title for chat in await stores.conversations.list()] == ["x"]
    assert (await status(plain_url, timeout_s=5)).revision == HEAD
    assert await check(plain_url, timeout_s=5) == []


async def assert_isolated(database: Database, users: list[User]) -> None:
    """Each user sees their own rows, and the door without an owner those of all."""
    for table in OWNED:
        for user in users:
            async with database.stores(user.id) as stores:
                assert await owners(stores, table) == {user.id}
        async with database.accounts() as accounts:
            assert await owners(accounts, table) == {user.id for user in users}


async def test_a_database_of_another_user_is_refused_with_advice(
    plain_url: str, database_server: EmbeddedPostgres
) -> None:
    name = plain_url.rsplit("/", 1)[1]
    await execute(database_server.url(name), f"ALTER DATABASE {name} OWNER TO lab")

    with pytest.raises(DatabaseError, match=f"run `ALTER DATABASE {name} OWNER TO {name}`"):
        await upgrade(plain_url)
