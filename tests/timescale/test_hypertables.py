"""With TimescaleDB, events and usage are hypertables that keep what the lab promises."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from lab.db import Database, upgrade
from lab.db.backups import backup, restore
from lab.db.maintenance import check, status, tend
from lab.errors import ConflictError
from lab.schemas.database_config import DatabaseConfig
from tests.integration.conftest import execute
from tests.integration.test_db_isolation import assert_isolated, fill
from tests.integration.test_db_migrations import to_revision
from tests.integration.test_db_time_series import ago, run_with_event

pytestmark = pytest.mark.timescale


async def n_chunks(url: str, table: str) -> int:
    ((n,),) = await execute(url, f"SELECT count(*) FROM show_chunks('{table}')")
    return int(n)


async def test_both_tables_are_hypertables(url: str) -> None:
    names = await execute(
        url, "SELECT hypertable_name FROM timescaledb_information.hypertables ORDER BY 1"
    )

    assert names == [("events",), ("usage",)]
    assert (await status(url, timeout_s=5)).timescale is not None
    assert await check(url, timeout_s=5) == []


async def test_migrating_twice_changes_nothing(url: str) -> None:
    await run_with_event(url, ago(40), datetime.now(UTC))
    before = await execute(url, "SELECT * FROM events ORDER BY run_id")

    await upgrade(url)

    assert await execute(url, "SELECT * FROM events ORDER BY run_id") == before


async def test_events_of_an_old_schema_are_all_there(url: str) -> None:
    await run_with_event(url, ago(400), ago(40), datetime.now(UTC))
    before = await execute(url, "SELECT * FROM events ORDER BY run_id")

    await to_revision(url, "0005")
    await upgrade(url)

    assert await execute(url, "SELECT * FROM events ORDER BY run_id") == before
    assert await n_chunks(url, "events") == 3


async def test_users_are_kept_apart_and_deleted_whole(url: str) -> None:
    async with Database(DatabaseConfig(), url) as database:
        async with database.accounts() as accounts:
            users = [await accounts.get_or_create(name) for name in ("ann", "bob")]
        for user in users:
            await fill(database, user)
        await assert_isolated(database, users)
        await execute(url, "UPDATE runs SET status = 'completed'")
        await execute(url, "UPDATE eval_runs SET status = 'completed'")
        async with database.accounts() as accounts:
            await accounts.delete("ann")

    assert await execute(url, "SELECT count(*) FROM events") == [(1,)]
    assert await execute(url, "SELECT count(*) FROM usage") == [(1,)]


async def test_compression_is_refused_where_rows_are_kept_apart(url: str) -> None:
    """The reason for which the lab asks for none: of the two it keeps row-level security."""
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        await execute(url, "ALTER TABLE events SET (timescaledb.compress)")


async def test_a_restore_is_refused_with_the_steps_to_take(url: str, tmp_path: Path) -> None:
    await run_with_event(url, datetime.now(UTC))
    await backup(url, tmp_path / "lab.backup", timeout_s=5)

    with pytest.raises(ConflictError, match="timescaledb_pre_restore"):
        await restore(url, tmp_path / "lab.backup", replace=True, timeout_s=5)

    assert await execute(url, "SELECT count(*) FROM events") == [(1,)]


async def test_old_chunks_go_only_where_the_operator_says_so(url: str) -> None:
    await run_with_event(url, ago(400), datetime.now(UTC))

    kept = await tend(url, DatabaseConfig())
    n_kept = await n_chunks(url, "events")
    gone = await tend(url, DatabaseConfig(keep_events_days=365))

    assert (kept, n_kept, len(gone)) == ([], 2, 1)
    assert await execute(url, "SELECT count(*) FROM events") == [(1,)]
    assert await execute(url, "SELECT count(*) FROM usage") == [(2,)]
