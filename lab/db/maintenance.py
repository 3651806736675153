"""Looking after the database: what is in it, whether it is sound, and giving space back."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import AsyncConnection, sql
from sqlalchemy import Connection

from lab.db import time_series
from lab.db.connection import connect, one_off_engine
from lab.db.isolation import unprotected
from lab.db.lost import LOST
from lab.db.migrations import configuration
from lab.db.tables import Base
from lab.errors import DatabaseError
from lab.schemas.database_config import DatabaseConfig

T = TypeVar("T")

OTHERS = ("alembic", "apscheduler", "checkpoint")
"""Tables of libraries, which look after their own schema."""


@dataclass(frozen=True)
class TableSize:
    """What a table takes; `n_dead` rows wait for a vacuum."""

    name: str
    n_rows: int
    n_dead: int
    n_bytes: int


@dataclass(frozen=True)
class DatabaseStatus:
    """
    What a database is and holds.

    Attributes
    ----------
    server, vector : str
        Versions of PostgreSQL and of pgvector.
    revision, newest : str, optional
        The step of the schema that the database is at, and the newest one that this lab knows.
    n_bytes : int
        Size on disk.
    embedded : mapping of str to int
        Memories by the signature of their embedding model, `unknown` for those of before it was
        kept.
    timescale : str, optional
        Version of the TimescaleDB that keeps events and usage; they are in partitions without.
    tables : sequence of TableSize
        Largest first; partitions and chunks are counted with their table.
    """

    server: str
    vector: str | None
    revision: str | None
    newest: str | None
    n_bytes: int
    embedded: Mapping[str, int]
    timescale: str | None
    tables: Sequence[TableSize] = field(repr=False)


@dataclass(frozen=True)
class Problem:
    """Something that is not as it should be, and what to do."""

    found: str
    advice: str


async def status(url: str, *, timeout_s: float) -> DatabaseStatus:
    """Return what a database is and holds; raise `DatabaseError` when it does not answer."""
    async with await connect(url, timeout_s=timeout_s) as connection:
        row = await _row(
            connection,
            """
            SELECT current_setting('server_version'), pg_database_size(current_database()),
                (SELECT extversion FROM pg_extension WHERE extname = 'vector')
            """,
        )
        # Counts are the server's own estimates: counting a large table reads all of it.
        found = await connection.execute(
            """
            SELECT whole.relname, sum(n_live_tup)::bigint, sum(n_dead_tup)::bigint,
                sum(pg_total_relation_size(relid))::bigint
            FROM pg_stat_user_tables LEFT JOIN pg_inherits ON inhrelid = relid
            JOIN pg_class whole ON whole.oid = coalesce(inhparent, relid)
            WHERE whole.relnamespace = current_schema::regnamespace
            GROUP BY whole.relname ORDER BY 4 DESC, 1
            """
        )
        tables = [TableSize(*cells) for cells in await found.fetchall()]
        timescale = await time_series.timescale(connection)
        revision, newest = await _inspected(url, timeout_s, _revisions)
        embedded = await _embedded(connection) if revision == newest else {}
    server, n_bytes, vector = row
    return DatabaseStatus(server, vector, revision, newest, n_bytes, embedded, timescale, tables)


async def waiting(url: str, model: str, *, timeout_s: float) -> int:
    """
    Return how many memories and facts were not embedded by the model of that signature.

    Raises
    ------
    DatabaseError
        If the database does not answer, or its schema is not the newest.
    """
    revision, newest = await _inspected(url, timeout_s, _revisions)
    if revision != newest:
        raise DatabaseError(
            f"The schema is at {revision or 'nothing'} and this lab needs {newest}; "
            "run `lab db upgrade`."
        )
    async with await connect(url, timeout_s=timeout_s) as connection:
        return await _waiting(connection, model)


async def check(url: str, *, timeout_s: float, model: str | None = None) -> list[Problem]:
    """
    Return what is wrong with a database: its schema, its indexes, rows that point nowhere.

    With the signature of the present embedding model, also what another one embedded.
    """
    revision, newest = await _inspected(url, timeout_s, _revisions)
    if revision != newest:
        return [
            Problem(
                f"The schema is at {revision or 'nothing'} and this lab needs {newest}.",
                "Run `lab db upgrade`.",
            )
        ]
    problems = [
        Problem(f"The schema differs from the lab's: {difference}.", "Restore a backup.")
        for difference in await _inspected(url, timeout_s, differences)
    ]
    async with await connect(url, timeout_s=timeout_s) as connection:
        problems += [
            Problem(f"Index {name} is not valid.", f"Run `REINDEX INDEX {name}`.")
            async for (name,) in await connection.execute(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
            )
        ]
        problems += [problem async for problem in _orphans(connection)]
        if model is not None and (n := await _waiting(connection, model)):
            problems.append(
                Problem(
                    f"{n} memories and facts were not embedded by {model}, and are found by words "
                    "alone.",
                    "Run `lab db reembed`.",
                )
            )
    return problems


async def tend(url: str, config: DatabaseConfig) -> list[str]:
    """
    Make the months to come and drop those that the operator wants no longer; return what is gone.

    Raises
    ------
    DatabaseError
        If the database does not answer, or is in use for too long.
    """
    async with await connect(url, timeout_s=config.connect_timeout_s) as connection:
        await time_series.make_months(connection)
        return await time_series.drop_old(connection, config)


async def vacuum(url: str, *, timeout_s: float) -> AsyncIterator[tuple[str, int]]:
    """
    Delete what libraries kept of rows that are gone, then vacuum and analyse table by table.

    Yields
    ------
    tuple of (str, int)
        The table that is done, and how many are left.
    """
    async with await connect(url, timeout_s=timeout_s) as connection:
        found = await connection.execute(
            "SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = relid"
            " WHERE schemaname = current_schema AND NOT relispartition ORDER BY 1"
        )
        names = [name for (name,) in await found.fetchall()]
        for name in LOST.keys() & set(names):
            await connection.execute(
                sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(name), sql.SQL(LOST[name]))
            )
        for n_left, name in zip(reversed(range(len(names))), names, strict=True):
            await connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(name)))
            yield name, n_left


def differences(connection: Connection) -> list[str]:
    """Return how the schema of a database differs from that of the code, one line each."""
    partitions = time_series.partitions(connection)
    context = MigrationContext.configure(
        connection,
        opts={
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: (
                not (kind == "table" and ((name or "").startswith(OTHERS) or name in partitions))
            ),
        },
    )
    return [
        *map(str, compare_metadata(context, Base.metadata)),
        *(f"users see each other's rows of {name}" for name in unprotected(connection)),
    ]


async def _inspected(url: str, timeout_s: float, inspect: Callable[[Connection], T]) -> T:
    """Return what SQLAlchemy's tools find in a database."""
    async with one_off_engine(url, timeout_s=timeout_s).connect() as connection:
        return await connection.run_sync(inspect)


def _revisions(connection: Connection) -> tuple[str | None, str | None]:
    """Return the revision of a database and the newest one."""
    script = ScriptDirectory.from_config(configuration(connection))
    return MigrationContext.configure(connection).get_current_revision(), script.get_current_head()


async def _orphans(connection: AsyncConnection) -> AsyncIterator[Problem]:
    """Yield rows that point to nothing, though foreign keys forbid it, and lost checkpoints."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            for key in column.foreign_keys:
                parent = key.column
                (n,) = await _row(
                    connection,
                    sql.SQL(
                        "SELECT count(*) FROM {child} c WHERE c.{column} IS NOT NULL AND NOT EXISTS"
                        " (SELECT FROM {parent} p WHERE p.{id} = c.{column})"
                    ).format(
                        child=sql.Identifier(table.name),
                        column=sql.Identifier(column.name),
                        parent=sql.Identifier(parent.table.name),
                        id=sql.Identifier(parent.name),
                    ),
                )
                if n:
                    yield Problem(
                        f"{n} rows of {table.name} point to {parent.table.name} that are gone.",
                        "The disk lost data: restore a backup.",
                    )
    (n,) = await _row(
        connection,
        sql.SQL("SELECT count(DISTINCT thread_id) FROM checkpoints WHERE {}").format(
            sql.SQL(LOST["checkpoints"])
        ),
    )
    if n:
        yield Problem(
            f"{n} conversations are gone and their checkpoints are not.",
            "Run `lab db vacuum`, which deletes them.",
        )


async def _embedded(connection: AsyncConnection) -> dict[str, int]:
    found = await connection.execute(
        "SELECT coalesce(embedding_model, 'unknown'), count(*) FROM memories GROUP BY 1 ORDER BY 1"
    )
    return dict(await found.fetchall())


async def _waiting(connection: AsyncConnection, model: str) -> int:
    found = await connection.execute(
        """
        SELECT count(*) FROM (
            SELECT id FROM memories WHERE embedding_model IS DISTINCT FROM %(model)s
            UNION
            SELECT memory_id FROM memory_contexts WHERE embedding_model IS DISTINCT FROM %(model)s
            UNION
            SELECT id FROM facts WHERE embedding_model <> %(model)s
        ) AS waiting
        """,
        {"model": model},
    )
    ((n,),) = await found.fetchall()
    return int(n)


async def _row(connection: AsyncConnection, statement: str | sql.Composed) -> tuple[Any, ...]:
    found = await connection.execute(
        statement.encode() if isinstance(statement, str) else statement
    )
    row = await found.fetchone()
    assert row is not None, "an aggregate has a row"
    return tuple(row)
