"""What a user owns: rows in our own tables, and folders of executed notebooks."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql
from psycopg.rows import tuple_row
from sqlalchemy import Column, Table

from lab.db.database import Database
from lab.db.tables import OWNED, Base, UserRow
from lab.errors import ConflictError


def owned_tables() -> Iterator[tuple[Table, Column[Any]]]:
    """Yield each table whose rows belong to somebody, and the column that says to whom."""
    users = Base.metadata.tables[UserRow.__tablename__]
    yield users, users.c.id
    for table in OWNED:
        yield table, table.c.owner_id


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[AsyncConnection[Any]]:
    """Open a connection that reads one moment of the database, however long the block takes."""
    with database.guarded():
        async with database.pool.connection() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield connection


async def count(database: Database, owner_id: UUID) -> dict[str, int]:
    """Return how many rows a user owns, by table; tables without any are left out."""
    numbers: dict[str, int] = {}
    async with snapshot(database) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        for table, owner in owned_tables():
            counting = sql.SQL("SELECT count(*) FROM {} WHERE {} = %s").format(
                sql.Identifier(table.name), sql.Identifier(owner.name)
            )
            found = await (await cursor.execute(counting, [owner_id])).fetchone()
            assert found is not None, "an aggregate has a row"
            numbers[table.name] = found[0]
    return {name: n for name, n in numbers.items() if n}


def run_folder(data_folder: Path, run_id: UUID, notebook: str) -> Path:
    """
    Return the folder that an evaluation run has for itself.

    Parameters
    ----------
    data_folder : Path
        Where the lab keeps its files.
    run_id : UUID
        The run.
    notebook : str
        Its executed notebook, relative to the data folder.

    Raises
    ------
    ConflictError
        If the notebook lies elsewhere: whoever copies or deletes the folder must not touch others.
    """
    root = data_folder.resolve()
    folder = root / Path(notebook).parent
    # Neither a link nor `..` may lead elsewhere.
    if folder.name != str(run_id) or folder.resolve() != folder or root not in folder.parents:
        raise ConflictError(
            f"The evaluation run {run_id} says that its notebook is `{notebook}`, which is not in "
            "a folder of its own in the data folder; correct the row in `eval_runs`."
        )
    return folder
