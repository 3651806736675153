"""`lab db`: a database is looked after, kept in a file, and put back whole or not at all."""

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import psycopg
import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.db import EmbeddedPostgres, backups, upgrade
from lab.db.ids import new_id
from lab.errors import ConflictError
from tests.integration.conftest import HEAD, empty_database, execute

pytestmark = pytest.mark.integration

runner = CliRunner()


@pytest.fixture
async def url(
    database_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Return the URL of a migrated database in which Ann said something; `lab db` means it."""
    user, chat = new_id(), new_id()
    async with empty_database(database_server) as url:
        await upgrade(url)
        await execute(
            url,
            f"INSERT INTO users VALUES ('{user}', 'ann', false, true, '[]')",
            "INSERT INTO conversations (id, owner_id, title, next_position, n_messages)"
            f" VALUES ('{chat}', '{user}', 'Canaries', 0, 0)",
        )
        monkeypatch.setenv("LAB_DATABASE_URL", url)
        monkeypatch.setenv("COLUMNS", "200")
        yield url


async def lab(*arguments: str, code: int = 0) -> str:
    """Run a command and return all it prints."""
    result = await asyncio.to_thread(runner.invoke, main, ["db", *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def tools() -> list[psutil.Process]:
    """Return the programs of PostgreSQL that we started and that still run."""
    names = {"pg_dump", "pg_restore", "psql"}
    return [child for child in psutil.Process().children() if child.name() in names]


async def titles(url: str) -> list[tuple[object, ...]]:
    return await execute(url, "SELECT title FROM conversations ORDER BY title")


@pytest.mark.usefixtures("url")
async def test_status_shows_versions_and_tables() -> None:
    shown = await lab("status")

    assert "PostgreSQL 18" in shown
    assert "pgvector 0." in shown
    assert f"revision {HEAD}, " in shown
    assert "conversations" in shown


async def test_status_does_not_change_an_old_database(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", empty_url)

    assert f"revision none, newest {HEAD}: `lab db upgrade`" in await lab("status")
    assert f"needs {HEAD}" in await lab("check", code=1)
    assert f"is at revision {HEAD}" in await lab("upgrade")
    assert "as they should be" in await lab("check")


async def test_check_finds_what_is_wrong(url: str) -> None:
    assert "as they should be" in await lab("check")

    await execute(url, "ALTER TABLE conversations ADD COLUMN colour text")
    await execute(
        url,
        f"SET session_replication_role = replica; UPDATE conversations SET owner_id = '{new_id()}'",
    )
    await execute(
        url,
        "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint) VALUES ('gone', '1', '{}')",
    )

    shown = await lab("check", code=1)
    assert "colour" in shown
    assert "1 rows of conversations point to users that are gone" in shown
    assert "1 conversations are gone and their checkpoints are not" in shown


@pytest.mark.parametrize(
    "slip",
    [
        "ALTER TABLE runs DISABLE ROW LEVEL SECURITY",
        "DROP POLICY owner ON runs",
        "ALTER POLICY owner ON runs USING (true)",
        "CREATE POLICY guests ON runs USING (true)",
    ],
)
async def test_check_finds_rows_that_are_not_kept_apart(url: str, slip: str) -> None:
    await execute(url, slip)

    assert "users see each other's rows of runs" in await lab("check", code=1)


async def test_check_finds_that_the_index_of_embeddings_is_gone(url: str) -> None:
    await execute(url, "DROP INDEX ix_memories_embedding_in_space")

    assert "ix_memories_embedding_in_space" in await lab("check", code=1)


async def test_vacuum_forgets_checkpoints_of_lost_conversations_only(url: str) -> None:
    ((chat,),) = await execute(url, "SELECT id FROM conversations")
    for thread in ("gone", chat):
        await execute(
            url,
            "INSERT INTO checkpoints (thread_id, checkpoint_id, checkpoint)"
            f" VALUES ('{thread}', '1', '{{}}')",
        )

    assert "tables are vacuumed" in await lab("vacuum")

    assert await execute(url, "SELECT thread_id FROM checkpoints") == [(str(chat),)]


async def test_a_backup_is_restored_elsewhere(
    url: str, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lab.backup"
    await lab("backup", str(file))
    monkeypatch.setenv("LAB_DATABASE_URL", empty_url)

    await lab("restore", str(file))

    assert await titles(empty_url) == [("Canaries",)] == await titles(url)
    assert "as they should be" in await lab("check")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


async def test_only_replace_deletes_what_is_there(url: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.backup"
    await lab("backup", str(file))
    await execute(url, "UPDATE conversations SET title = 'Dogs'")

    assert "is not empty; `--replace`" in await lab("restore", str(file), code=1)
    assert await titles(url) == [("Dogs",)]

    await lab("restore", str(file), "--replace")
    assert await titles(url) == [("Canaries",)]


async def test_a_damaged_backup_leaves_the_database_as_it_was(url: str, tmp_path: Path) -> None:
    file, damaged, text = tmp_path / "lab.backup", tmp_path / "damaged", tmp_path / "text"
    await lab("backup", str(file))
    whole = file.read_bytes()
    damaged.write_bytes(whole[: len(whole) * 9 // 10])
    text.write_text("SELECT 1;")

    for wrong in (damaged, text):
        shown = await lab("restore", str(wrong), "--replace", code=1)
        assert "is no backup" in shown or "as it was" in shown
    assert "There is no file" in await lab("restore", str(tmp_path / "none"), code=1)

    assert await titles(url) == [("Canaries",)]
    assert "as they should be" in await lab("check")


async def test_a_database_in_use_is_not_replaced(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.db.backups.LOCK_TIMEOUT", "300ms")
    file = tmp_path / "lab.backup"
    await lab("backup", str(file))

    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT FROM conversations")
        shown = await lab("restore", str(file), "--replace", code=1)

    assert "in use; stop the lab first" in shown
    assert await titles(url) == [("Canaries",)]


@pytest.mark.timeout(60)
async def test_a_large_backup_is_refused_as_soon_as_a_small_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.db.backups.LOCK_TIMEOUT", "300ms")
    await execute(
        url,
        "INSERT INTO conversations (id, owner_id, title, next_position, n_messages)"
        " SELECT gen_random_uuid(), owner_id, repeat(gen_random_uuid()::text, 500), 0, 0"
        " FROM conversations, generate_series(1, 500)",
    )
    file = tmp_path / "lab.backup"
    await lab("backup", str(file))

    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT FROM conversations")
        shown = await lab("restore", str(file), "--replace", code=1)

    assert "in use; stop the lab first" in shown
    assert tools() == []


async def test_a_restore_that_is_cancelled_changes_nothing(url: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.backup"
    await lab("backup", str(file))
    await execute(url, "UPDATE conversations SET title = 'Dogs'")

    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT FROM conversations")
        restoring = asyncio.create_task(backups.restore(url, file, replace=True, timeout_s=10))
        async with asyncio.timeout(30):
            while not tools():
                await asyncio.sleep(0.02)
        restoring.cancel()
        with pytest.raises(asyncio.CancelledError):
            await restoring

    assert tools() == []
    assert await titles(url) == [("Dogs",)]


async def test_two_backups_to_one_file_leave_one_that_is_whole(
    url: str, empty_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "lab.backup"

    ended = await asyncio.gather(
        *(backups.backup(url, file, timeout_s=10) for _ in range(2)), return_exceptions=True
    )
    await backups.restore(empty_url, file, replace=False, timeout_s=10)

    assert [type(end) for end in ended if not isinstance(end, int)] == [ConflictError]
    assert await titles(empty_url) == [("Canaries",)]
    assert list(tmp_path.iterdir()) == [file]


async def test_a_file_may_have_any_name(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    for name in ("-c", '[old] lab\'s "ünï".backup', "%s; $(x)\nlab"):
        assert name.split()[0] in await lab("backup", "--", name)
        await lab("restore", "--replace", "--", name)
    for command in ("backup", "restore"):
        assert "Error: " in await lab(command, "x" * 300, code=1)

    assert await titles(url) == [("Canaries",)]


@pytest.mark.usefixtures("url")
async def test_a_backup_never_overwrites_and_never_leaves_half_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")

    assert "exists" in await lab("backup", str(tmp_path / "taken"), code=1)
    assert "cannot be written" in await lab("backup", str(tmp_path / "no" / "folder"), code=1)

    assert [file.name for file in tmp_path.iterdir()] == ["taken"]
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    "command", [("status",), ("check",), ("vacuum",), ("backup", "x"), ("restore", "x")]
)
async def test_a_database_that_does_not_answer_is_one_line(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").touch() if command[0] == "restore" else None
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://lab:hidden@127.0.0.1:9/lab")
    monkeypatch.setenv("LAB_DATABASE_CONNECT_TIMEOUT_S", "0.2")

    shown = await lab(*command, code=1)

    assert shown.startswith("Error: ")
    assert "hidden" not in shown
