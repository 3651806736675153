"""Migrations lead to the schema of the code, however often and by however many they run."""

import asyncio
import sys
from uuid import UUID

import numpy as np
import psycopg
import pytest
from alembic import command
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from lab.db import Database, EmbeddedPostgres, upgrade
from lab.db.ids import new_id
from lab.db.maintenance import differences
from lab.db.migrations import LOCK, configuration
from lab.errors import DatabaseError
from lab.schemas.database_config import DatabaseConfig
from tests.integration.conftest import HEAD, execute

pytestmark = pytest.mark.integration

FIVE_PROCESSES = """
import asyncio, os, sys
from lab.db import upgrade

url, children = sys.stdin.read(), []
for _ in range(5):
    if not (child := os.fork()):
        asyncio.run(upgrade(url))
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


async def to_revision(url: str, revision: str) -> None:
    """Bring a database to a step, up or down."""
    engine = create_engine(url.replace("postgresql", "postgresql+psycopg", 1))

    def move() -> None:
        with engine.begin() as connection:
            there = MigrationContext.configure(connection).get_current_revision() or ""
            backwards = revision == "base" or revision < there
            step = command.downgrade if backwards else command.upgrade
            step(configuration(connection), revision)

    await asyncio.to_thread(move)
    engine.dispose()


async def test_the_migrated_schema_is_the_one_of_the_code(database_url: str) -> None:
    engine = create_engine(database_url.replace("postgresql", "postgresql+psycopg", 1))

    with engine.connect() as connection:
        found = differences(connection)

    engine.dispose()
    assert found == []


async def test_every_foreign_key_has_an_index(database_url: str) -> None:
    bare = await execute(
        database_url,
        """
        SELECT c.conrelid::regclass, c.conname FROM pg_constraint c
        WHERE c.contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1])
        """,
    )

    assert bare == []


async def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    await upgrade(empty_url)
    await execute(empty_url, f"INSERT INTO users VALUES ('{new_id()}', 'ann', false, true, '[]')")

    await upgrade(empty_url)

    assert await execute(empty_url, "SELECT name FROM users") == [("ann",)]


@pytest.mark.parametrize(
    ("revision", "columns", "values"),
    [
        ("0001", "", ""),
        ("0002", ", position, name", ", 7, 'Cy'"),
        ("0003", ", position, name", ", 7, 'Cy'"),
    ],
)
async def test_memories_of_an_old_schema_are_recalled_as_new_ones_and_kept_apart(
    empty_url: str, revision: str, columns: str, values: str
) -> None:
    await upgrade(empty_url)  # makes the checkpoints' tables, as the first release did
    await to_revision(empty_url, "base")
    await to_revision(empty_url, revision)
    memories, model = {new_id(): new_id() for _ in range(2)}, "all-MiniLM-L6-v2@1"
    chats: dict[UUID, UUID] = {}
    vector = "array_fill(0.1, ARRAY[768])::vector"
    for user, memory in memories.items():
        chat = chats[user] = new_id()
        message = new_id()
        for statement in (
            f"INSERT INTO users VALUES ('{user}', '{user}', false, true, '[]')",
            "INSERT INTO conversations (id, owner_id, title, next_position, n_messages)"
            f" VALUES ('{chat}', '{user}', 'chat', 1, 1)",
            "INSERT INTO messages (id, owner_id, conversation_id, position, role, parts)"
            f" VALUES ('{message}', '{user}', '{chat}', 7, 'user', '[]')",
            "INSERT INTO memories (id, owner_id, conversation_id, message_id, role, text, embedding"
            f"{columns}) VALUES ('{memory}', '{user}', '{chat}', '{message}', 'user',"
            f" 'Two canaries.', {vector}{values})",
        ):
            await execute(empty_url, statement)
        if revision > "0001":  # the second step posts the words of older memories
            await execute(
                empty_url,
                f"INSERT INTO memory_terms VALUES ('{memory}', 'canari', '{user}', '{chat}', 1, 2)",
            )

    await upgrade(empty_url)

    async with Database(DatabaseConfig(), empty_url) as database:
        for user, memory in memories.items():
            async with database.stores(user) as stores:
                found = await stores.memories.signals(
                    "Cy, canary?", np.ones(768, dtype=np.float32), model=model
                )
                waiting = await stores.memories.waiting(model)
                unsummarised, _ = await stores.summaries.waiting(chats[user], 1, 9)
                seen = await stores.memories._session.scalars(text("SELECT id FROM memories"))
            assert (found.ids, found.position.tolist()) == ([memory], [7])
            assert found.words[0] > 0
            # By whom they were embedded is not known.
            assert np.isnan([found.context_similarity, found.similarity]).all()
            assert waiting == [memory]
            assert found.spoken.tolist() == [bool(columns)]
            assert seen.all() == [memory]
            assert [m.id for m in unsummarised] == [memory]


async def test_the_profiles_that_people_preferred_keep_their_roles(empty_url: str) -> None:
    await upgrade(empty_url)
    await to_revision(empty_url, "0011")
    stored = {
        "ann": '{"preferences": {"profile": "a"}, "summaries": {"profile": "b", "share": 0.1}}',
        "bob": '{"preferences": {"profile": null}, "memory": {"top_k": 3}}',
        "cy": '{"summaries": {"share": 0.1}}',
    }
    for name, values in stored.items():
        await execute(
            empty_url,
            f"INSERT INTO users VALUES ('{(id_ := new_id())}', '{name}', false, true, '[]')",
            f"INSERT INTO user_configs VALUES ('{id_}', '{values}')",
        )
    kept = 'SELECT name, "values" FROM user_configs JOIN users ON id = owner_id ORDER BY name'

    await upgrade(empty_url)
    found = dict(await execute(empty_url, kept))
    await to_revision(empty_url, "0011")
    again = dict(await execute(empty_url, kept))

    assert found["ann"] == {"roles": {"primary": "a", "summary": "b"}, "summaries": {"share": 0.1}}
    assert found["bob"] == {"roles": {}, "memory": {"top_k": 3}}
    assert found["cy"] == {"summaries": {"share": 0.1}}
    assert again["ann"]["preferences"] == {"profile": "a"}
    assert again["ann"]["summaries"] == {"profile": "b", "share": 0.1}


async def test_streams_that_left_their_receipt_to_the_run_have_it(empty_url: str) -> None:
    await upgrade(empty_url)
    await to_revision(empty_url, "0014")
    owner, run = new_id(), new_id()
    await execute(
        empty_url,
        f"INSERT INTO users VALUES ('{owner}', 'ann', false, true, '[]')",
        "INSERT INTO runs (id, owner_id, kind, status, parameters, receipt) VALUES"
        f""" ('{run}', '{owner}', 'chat', 'completed', '{{}}', '{{"items": [1]}}')""",
        "INSERT INTO events (run_id, position, owner_id, type, data) VALUES"
        f" ('{run}', 1, '{owner}', 'receipt', '{{}}')",
    )

    await upgrade(empty_url)

    assert await execute(empty_url, "SELECT data FROM events") == [({"receipt": {"items": [1]}},)]


async def test_five_processes_may_migrate_at_once(empty_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FIVE_PROCESSES, stdin=-1, stderr=-1
    )

    _, stderr = await process.communicate(empty_url.encode())

    assert process.returncode == 0, stderr.decode()
    assert await execute(empty_url, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    tables = await execute(empty_url, "SELECT tablename FROM pg_tables WHERE schemaname='public'")
    assert {("users",), ("memories",), ("checkpoints",)} <= set(tables)


async def test_many_tasks_may_migrate_at_once(empty_url: str) -> None:
    await asyncio.gather(*(upgrade(empty_url) for _ in range(5)))


async def test_a_migration_that_takes_too_long_is_not_waited_for(empty_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(empty_url, autocommit=True) as connection:
        await connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])

        with pytest.raises(DatabaseError, match="Another process has been migrating"):
            await upgrade(empty_url, timeout_s=0.2)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ("", "has no extension `vector`; install pgvector"),
        ("INSERT INTO public.pg_available_extensions VALUES ('vector', '0.7.4')", "pgvector 0.7.4"),
    ],
)
async def test_a_server_without_a_new_pgvector_is_a_clear_error(
    empty_url: str, database_server: EmbeddedPostgres, known: str, said: str
) -> None:
    # A schema that comes before pg_catalog hides the server's own list of extensions.
    await execute(
        empty_url,
        "CREATE TABLE public.pg_available_extensions"
        f" (name text, default_version text, installed_version text); {known};"
        "ALTER ROLE lab IN DATABASE "
        f"{empty_url.rsplit('/', 1)[1]} SET search_path = public, pg_catalog",
    )

    with pytest.raises(DatabaseError, match=said):
        await upgrade(empty_url)
