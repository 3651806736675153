"""
Tables of what happened when, kept month by month, so that old months can go at once.

Their rows are found by an id of version 7, which begins with its time; that id is what they are
partitioned by. So a key stays a key, and what asks for one id looks into one month only.

In a plain PostgreSQL a month is a partition, and a default partition takes what has no month yet: a
row never fails for want of one. Where the database had TimescaleDB when its tables were made, they
are hypertables, which make their chunks themselves. TimescaleDB compresses no table with row-level
security; between the two, the lab keeps the security.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import structlog
from psycopg import AsyncConnection, errors, sql
from sqlalchemy import Connection, text

from lab.db.ids import first_id
from lab.db.tables import EventRow, UsageRow
from lab.errors import DatabaseError
from lab.schemas.database_config import DatabaseConfig

SERIES: Final[Mapping[str, str]] = {
    EventRow.__tablename__: EventRow.run_id.key,
    UsageRow.__tablename__: UsageRow.id.key,
}
"""The tables, and the id that each is partitioned by."""
MONTHS_AHEAD: Final = 12
"""Months there are partitions for, after this one; who runs for longer is caught by the default."""
LOCK_TIMEOUT: Final = "5s"
"""How long those who use a table may be waited for."""
LOCK: Final = 0x6C6164
"""Key of the advisory lock under which months are made and dropped."""
_MONTH = re.compile(r"_(\d{4})_(\d{2})$")

log = structlog.get_logger(__name__)


def partitions(connection: Connection) -> set[str]:
    """Return the names of the partitions, which are no tables of the code."""
    return set(
        connection.scalars(
            text(
                "SELECT relname FROM pg_class"
                " WHERE relispartition AND relnamespace = current_schema::regnamespace"
            )
        )
    )


async def timescale(connection: AsyncConnection[Any]) -> str | None:
    """Return the version of the TimescaleDB that keeps the tables, or None for partitions."""
    if not await _hypertables(connection):
        return None
    found = await connection.execute(
        "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    ((version,),) = await found.fetchall()
    return str(version)


async def make_months(connection: AsyncConnection[Any], now: datetime | None = None) -> None:
    """
    Make the partitions of the months to come, and move rows that wait in the default one.

    Safe to call at any time and by many at once. While a table is in use for longer than
    `LOCK_TIMEOUT`, it stays as it is, which is logged: its rows are in the default partition.

    Parameters
    ----------
    connection : AsyncConnection
        With autocommit.
    now : datetime, optional
        By default the time.
    """
    for table in await _partitioned(connection):
        try:
            async with _alone(connection):
                await _make_months(connection, table, SERIES[table], now or datetime.now(UTC))
        except errors.LockNotAvailable:
            log.warning("no partitions made", table=table, advice="The next start tries again.")


async def drop_old(
    connection: AsyncConnection[Any], config: DatabaseConfig, now: datetime | None = None
) -> list[str]:
    """
    Drop the months that are wholly older than the operator wants to keep; return what is gone.

    Without a setting, which is the default, nothing is.

    Raises
    ------
    DatabaseError
        If a table is in use for longer than `LOCK_TIMEOUT`.
    """
    kept = {
        EventRow.__tablename__: config.keep_events_days,
        UsageRow.__tablename__: config.keep_usage_days,
    }
    old = {
        table: (now or datetime.now(UTC)) - timedelta(days=days)
        for table, days in kept.items()
        if days is not None
    }
    gone: list[str] = []
    try:
        for table in await _partitioned(connection):
            if table in old:
                gone += await _drop_partitions(connection, table, old[table])
        for table in await _hypertables(connection):
            if table in old:
                gone += await _drop_chunks(connection, table, old[table])
    except errors.LockNotAvailable as error:
        raise DatabaseError(
            "Events or usage are in use, and some of their old months stay; try again."
        ) from error
    return gone


async def _drop_partitions(
    connection: AsyncConnection[Any], table: str, before: datetime
) -> list[str]:
    async with _alone(connection):
        months = await _months(connection, table)
        gone = [name for name, (_, end) in months.items() if end <= before]
        for name in gone:
            await connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    return gone


async def _drop_chunks(connection: AsyncConnection[Any], table: str, before: datetime) -> list[str]:
    async with _alone(connection):
        dropped = await connection.execute(
            "SELECT drop_chunks(%s::regclass, older_than => %s::timestamptz)", [table, before]
        )
        return [str(chunk) for (chunk,) in await dropped.fetchall()]


async def _partitioned(connection: AsyncConnection[Any]) -> list[str]:
    """Return which of the tables are partitioned: none in a schema of before."""
    found = await connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'p' AND relname = ANY(%s)"
        " AND relnamespace = current_schema::regnamespace ORDER BY relname",
        [list(SERIES)],
    )
    return [name for (name,) in await found.fetchall()]


async def _hypertables(connection: AsyncConnection[Any]) -> list[str]:
    """Return which of the tables are hypertables."""
    view = "timescaledb_information.hypertables"
    ((is_there,),) = await (
        await connection.execute("SELECT to_regclass(%s) IS NOT NULL", [view])
    ).fetchall()
    if not is_there:
        return []
    found = await connection.execute(
        "SELECT hypertable_name FROM timescaledb_information.hypertables"
        " WHERE hypertable_schema = current_schema AND hypertable_name = ANY(%s)",
        [list(SERIES)],
    )
    return [name for (name,) in await found.fetchall()]


async def _make_months(
    connection: AsyncConnection[Any], table: str, column: str, now: datetime
) -> None:
    months = [_month(now)]
    for _ in range(MONTHS_AHEAD):
        months.append(_after(months[-1]))
    wanted = {*months, *await _waiting(connection, table, column, _after(months[-1]))}
    there = {begin for begin, _ in (await _months(connection, table)).values()}
    missing = sorted(wanted - there)
    if not missing:
        return
    for statement in (
        "LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        "CREATE TEMP TABLE waiting ON COMMIT DROP AS"
        " SELECT * FROM {table} WHERE tableoid = {name}::regclass",
        "TRUNCATE {default}",
    ):
        await _execute(connection, statement, table)
    for month in missing:
        await _create(connection, table, month)
    await _execute(connection, "INSERT INTO {table} SELECT * FROM waiting", table)
    await connection.execute("DROP TABLE waiting")


async def _execute(connection: AsyncConnection[Any], statement: LiteralString, table: str) -> None:
    """Run a statement on a table and its default partition."""
    default = _default(table)
    names = {"table": sql.Identifier(table), "default": sql.Identifier(default)}
    await connection.execute(sql.SQL(statement).format(**names, name=sql.Literal(default)))


async def _create(connection: AsyncConnection[Any], table: str, month: datetime) -> None:
    """Make the partition of a month."""
    await connection.execute(
        sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(f"{table}_{month:%Y_%m}"),
            sql.Identifier(table),
            str(first_id(month)),
            str(first_id(_after(month))),
        )
    )


async def _months(
    connection: AsyncConnection[Any], table: str
) -> dict[str, tuple[datetime, datetime]]:
    """Return the partitions that hold a month, with its beginning and its end."""
    found = await connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE inhparent = %s::regclass ORDER BY relname",
        [table],
    )
    months = {name: _MONTH.search(name) for (name,) in await found.fetchall()}
    begins = {
        name: datetime(int(month[1]), int(month[2]), 1, tzinfo=UTC)
        for name, month in months.items()
        if month
    }
    return {name: (begin, _after(begin)) for name, begin in begins.items()}


async def _waiting(
    connection: AsyncConnection[Any], table: str, column: str, end: datetime
) -> set[datetime]:
    """Return the months, before an end, of rows that are in the default partition."""
    found = await connection.execute(
        sql.SQL(
            """
            SELECT DISTINCT date_trunc('month', to_timestamp(
                ('x' || left(replace({id}::text, '-', ''), 12))::bit(48)::bigint / 1000.0
            ), 'UTC')
            FROM {default} WHERE {id} < %s AND substr({id}::text, 15, 1) = '7'
            """
        ).format(id=sql.Identifier(column), default=sql.Identifier(_default(table))),
        [first_id(end)],
    )
    return {month.astimezone(UTC) for (month,) in await found.fetchall()}


@asynccontextmanager
async def _alone(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Open a transaction that changes partitions; nobody else does meanwhile."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        yield


def _default(table: str) -> str:
    return f"{table}_other"


def _month(moment: datetime) -> datetime:
    """Return the beginning of the month of a moment, as the world's clock has it."""
    day = moment.astimezone(UTC)
    return datetime(day.year, day.month, 1, tzinfo=UTC)


def _after(month: datetime) -> datetime:
    """Return the beginning of the next month."""
    return _month(month + timedelta(days=31))
