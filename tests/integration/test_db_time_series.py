"""Events and usage lie month by month; nothing is lost, and nothing goes that nobody wants gone."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.db import Database, EmbeddedPostgres, time_series, upgrade
from lab.db.ids import first_id, new_id
from lab.db.maintenance import check
from lab.db.time_series import drop_old, make_months
from lab.errors import DatabaseError
from lab.evals.scheduler import tending
from lab.schemas.database_config import DatabaseConfig
from lab.schemas.event_type import EventType
from lab.schemas.run_kind import RunKind
from lab.schemas.usage import Usage
from tests.integration.conftest import empty_database, execute
from tests.integration.test_db_migrations import to_revision
from tests.stack import LAB

pytestmark = pytest.mark.integration

runner = CliRunner()

COST = Usage(prompt_tokens=7, completion_tokens=2, total_tokens=9, queue_ms=500, total_ms=2000)
FUTURE = datetime(2031, 5, 9, tzinfo=UTC)


@pytest.fixture
async def url(
    database_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """Return a database of this test's own; `lab db` means it."""
    async with empty_database(database_server) as url:
        await upgrade(url)
        monkeypatch.setenv("LAB_DATABASE_URL", url)
        monkeypatch.setenv("COLUMNS", "200")
        yield url


async def lab(*arguments: str, code: int = 0) -> str:
    """Run a command of `lab db` and return all it prints."""
    result = await asyncio.to_thread(runner.invoke, main, ["db", *arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def id_of(moment: datetime) -> UUID:
    """Return an id as it is made at a moment."""
    return UUID(int=first_id(moment).int | new_id().int & (1 << 80) - 1)


def ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def connected(url: str) -> psycopg.AsyncConnection[tuple[object, ...]]:
    return await psycopg.AsyncConnection.connect(url, autocommit=True)


async def run_with_event(url: str, *moments: datetime, name: str = "ann") -> list[UUID]:
    """Let a user have a run of each moment, with an event and a row of usage."""
    runs = [id_of(moment) for moment in moments]
    async with Database(DatabaseConfig(), url) as database:
        async with database.accounts() as accounts:
            owner = await accounts.get_or_create(name)
        for run, moment in zip(runs, moments, strict=True):
            async with database.stores(owner.id) as stores:
                await stores.runs.create(RunKind.chat, "lab-tiny", {}, id=run)
                await stores.events.append(run, 0, EventType.run_started, {"n": 1})
            await execute(
                url,
                "INSERT INTO usage (id, owner_id, created_at, model, profile, prompt_tokens,"
                f" completion_tokens, seconds) VALUES ('{id_of(moment)}', '{owner.id}', '{moment}',"
                " 'm', 'm', 1, 1, 1)",
            )
    return runs


async def places(url: str, table: str) -> list[str]:
    """Return the partition of each row, oldest first."""
    column = time_series.SERIES[table]
    found = await execute(url, f"SELECT tableoid::regclass FROM {table} ORDER BY {column}")
    return [str(name) for (name,) in found]


def month(moment: datetime, table: str = "events") -> str:
    return f"{table}_{moment:%Y_%m}"


async def test_an_event_lies_in_the_month_of_its_run(url: str) -> None:
    now = datetime.now(UTC)

    await run_with_event(url, now)

    assert await places(url, "events") == [month(now)]
    assert await places(url, "usage") == [month(now, "usage")]


async def test_one_run_is_looked_up_in_one_month(url: str) -> None:
    now = datetime.now(UTC)
    (run,) = await run_with_event(url, now)

    plan = await execute(url, f"EXPLAIN SELECT FROM events WHERE run_id = '{run}'")

    read = re.findall(r"events_(?:\d{4}_\d\d|other)", " ".join(line for (line,) in plan))
    assert set(read) == {month(now)}


async def test_a_row_that_has_no_month_is_kept_and_gets_one_later(url: str) -> None:
    await run_with_event(url, ago(700), FUTURE)
    before = await execute(url, "SELECT * FROM events ORDER BY run_id")
    assert await places(url, "events") == ["events_other"] * 2

    async with await connected(url) as connection:
        await make_months(connection, FUTURE)

    assert await places(url, "events") == [month(ago(700)), month(FUTURE)]
    assert await places(url, "usage") == [month(ago(700), "usage"), month(FUTURE, "usage")]
    assert await execute(url, "SELECT * FROM events ORDER BY run_id") == before


async def test_an_id_of_no_time_stays_in_the_default(url: str) -> None:
    odd = UUID("01234567-89ab-4cde-8f01-234567890abc")
    async with Database(DatabaseConfig(), url) as database:
        async with database.accounts() as accounts:
            owner = await accounts.get_or_create("ann")
        async with database.stores(owner.id) as stores:
            await stores.runs.create(RunKind.chat, None, {}, id=odd)
            await stores.events.append(odd, 0, EventType.run_started, {})

    await upgrade(url)

    assert await places(url, "events") == ["events_other"]


async def test_months_may_be_made_by_many_while_rows_are_written(url: str) -> None:
    (run,) = await run_with_event(url, FUTURE)
    done = asyncio.Event()

    async def write() -> int:
        async with Database(DatabaseConfig(), url) as database:
            async with database.accounts() as accounts:
                owner = await accounts.get("ann")
            n = 1
            while not done.is_set():
                async with database.stores(owner.id) as stores:
                    await stores.events.append(run, n, EventType.run_started, {})
                n += 1
            return n

    async def make() -> None:
        async with await connected(url) as connection:
            await make_months(connection, FUTURE)

    writing = [asyncio.create_task(write())]
    await asyncio.sleep(0.1)
    await asyncio.gather(*(make() for _ in range(10)))
    done.set()
    (n_written,) = await asyncio.gather(*writing)

    assert await places(url, "events") == [month(FUTURE)] * n_written


async def test_partitions_are_closed_to_users_by_their_own_names(url: str) -> None:
    now = datetime.now(UTC)
    await run_with_event(url, now)
    async with await connected(url) as connection:
        await make_months(connection, FUTURE)

    for name in (month(now), "events_other", month(FUTURE), month(now, "usage"), "usage_other"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await execute(url, f"SET ROLE pg_database_owner; SELECT FROM {name}")
    assert await check(url, timeout_s=5) == []


async def test_events_of_an_old_schema_are_all_there_and_in_their_months(empty_url: str) -> None:
    rows = "SELECT run_id, position, owner_id, type, data, created_at FROM events ORDER BY run_id"
    await upgrade(empty_url)
    moments = [ago(400), ago(40), datetime.now(UTC)]
    runs = await run_with_event(empty_url, *moments)
    before = await execute(empty_url, rows)

    await to_revision(empty_url, "0005")
    former = await execute(empty_url, rows)
    await asyncio.gather(*(upgrade(empty_url) for _ in range(3)))

    assert former == before
    assert await execute(empty_url, rows) == before
    assert await places(empty_url, "events") == [month(m) for m in moments]
    assert await check(empty_url, timeout_s=5) == []
    async with Database(DatabaseConfig(), empty_url) as database:
        async with database.accounts() as accounts:
            ann = await accounts.get("ann")
        async with database.stores(ann.id) as stores:
            assert [len(await stores.events.list(run)) for run in runs] == [1, 1, 1]


async def test_nothing_goes_that_nobody_wants_gone(url: str) -> None:
    await run_with_event(url, ago(4000), ago(400), datetime.now(UTC))

    shown = await lab("vacuum")

    assert "gone" not in shown
    assert len(await places(url, "events")) == len(await places(url, "usage")) == 3


async def test_old_months_go_where_the_operator_says_so(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = ago(400), datetime.now(UTC)
    await run_with_event(url, old, young)
    monkeypatch.setenv("LAB_DATABASE_KEEP_EVENTS_DAYS", "365")

    shown = await lab("vacuum")

    assert f"{month(old)} was older than is kept, and is gone." in shown
    assert await places(url, "events") == [month(young)]
    assert await places(url, "usage") == [month(old, "usage"), month(young, "usage")]
    assert await execute(url, "SELECT count(*) FROM runs") == [(2,)]
    assert "as they should be" in await lab("check")


async def test_the_scheduler_sees_to_it_by_itself(url: str) -> None:
    await run_with_event(url, ago(400), datetime.now(UTC))

    async with tending(url, DatabaseConfig(keep_usage_days=365)), asyncio.timeout(10):
        while len(await places(url, "usage")) > 1:
            await asyncio.sleep(0.05)

    assert len(await places(url, "events")) == 2


async def test_a_month_stays_until_all_of_it_is_old(url: str) -> None:
    await run_with_event(url, datetime(2025, 3, 1, 1, tzinfo=UTC))
    config = DatabaseConfig(keep_events_days=30, keep_usage_days=30)
    async with await connected(url) as connection:
        await make_months(connection)
        last = await drop_old(connection, config, datetime(2025, 4, 30, 23, tzinfo=UTC))
        then = await drop_old(connection, config, datetime(2025, 5, 1, 1, tzinfo=UTC))

    assert (last, then) == ([], ["events_2025_03", "usage_2025_03"])


async def test_a_table_in_use_is_left_as_it_is(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await run_with_event(url, ago(400))
    monkeypatch.setattr(time_series, "LOCK_TIMEOUT", "200ms")
    config = DatabaseConfig(keep_events_days=1)
    async with await connected(url) as connection, await connected(url) as user:
        async with user.transaction():
            await user.execute("SELECT FROM events")
            await make_months(connection)
            waiting = await places(url, "events")
        await make_months(connection)
        async with user.transaction():
            await user.execute("SELECT FROM events")
            with pytest.raises(DatabaseError, match="in use"):
                await drop_old(connection, config)

    assert waiting == ["events_other"]
    assert await places(url, "events") == [month(ago(400))]


async def test_a_backup_brings_back_months_and_their_isolation(
    url: str, empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [ago(40), datetime.now(UTC)]
    await run_with_event(url, *moments)
    await upgrade(url)
    before = await execute(url, "SELECT * FROM events ORDER BY run_id")
    file = str(tmp_path / "lab.backup")
    await lab("backup", file)

    monkeypatch.setenv("LAB_DATABASE_URL", empty_url)
    await lab("restore", file)
    await lab("restore", file, "--replace")

    assert await execute(empty_url, "SELECT * FROM events ORDER BY run_id") == before
    assert await places(empty_url, "events") == [month(m) for m in moments]
    assert "as they should be" in await lab("check")


async def test_who_is_deleted_leaves_no_event_in_any_month(url: str) -> None:
    await run_with_event(url, ago(40), datetime.now(UTC), name="ann")
    await run_with_event(url, ago(40), datetime.now(UTC), name="bob")
    await upgrade(url)

    async with Database(DatabaseConfig(), url) as database, database.accounts() as accounts:
        await execute(url, "UPDATE runs SET status = 'completed'")
        await accounts.delete("ann")

    assert len(await places(url, "events")) == len(await places(url, "usage")) == 2


async def test_status_counts_the_months_with_their_table(url: str) -> None:
    await run_with_event(url, ago(40), datetime.now(UTC))
    await lab("vacuum")

    shown = await lab("status")

    assert "events and usage in partitions" in shown
    assert " events 2 " in shown
    assert "events_" not in shown


async def test_the_layout_is_logged_once_and_beside_the_result(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", empty_url)
    asked = ["users", "list", "--json"]

    said = []
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(LAB, *asked, stdout=-1, stderr=-1)
        said.append(await process.communicate())

    (first, first_log), (again, again_log) = said
    assert json.loads(first) == json.loads(again) == []
    assert b"kept_in=partitions" in first_log
    assert b"kept_in" not in again_log


async def test_usage_is_summed_by_day_and_model(database: Database) -> None:
    async with database.accounts() as accounts:
        ann, bob = [await accounts.get_or_create(name) for name in ("ann", "bob")]
    for user, model in ((ann, "a"), (ann, "a"), (ann, "b"), (bob, "a")):
        async with database.stores(user.id) as stores:
            await stores.usage.add(model, "profile", COST)

    async with database.stores(ann.id) as stores:
        hers = await stores.usage.days("ann", ago(1))
        none = await stores.usage.days("ann", ago(-1))
    async with database.accounts() as accounts:
        all_ = await accounts.usage(ago(1))

    assert none == []
    assert [(u.user, u.model, u.n_generations, u.prompt_tokens) for u in hers] == [
        ("ann", "a", 2, 14),
        ("ann", "b", 1, 7),
    ]
    assert hers[0].seconds == pytest.approx(3)
    assert [(u.user, u.model) for u in all_] == [("ann", "a"), ("bob", "a"), ("ann", "b")]
