"""Forgetting a user: their rows, their files, and a search for anything that is left of them."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import tuple_row

from lab.db.belongings import run_folder, snapshot
from lab.db.database import Database
from lab.errors import ConflictError, DatabaseError

# Numbers, times, truth values and vectors name nobody.
_COLUMNS = sql.SQL(
    """
    SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    WHERE c.relkind = 'r' AND c.relnamespace = current_schema::regnamespace
        AND t.typcategory NOT IN ('B', 'D', 'N') AND t.typname <> 'vector'
    GROUP BY c.relname ORDER BY c.relname
    """
)


async def forget(database: Database, data_folder: Path, name: str) -> None:
    """
    Delete everything of a user, rows and executed notebooks, and make sure that it is gone.

    Rows go in one transaction, and only when the files could be deleted too.

    Raises
    ------
    NotFoundError
        If there is no such user.
    ConflictError
        If something of theirs still runs, or their files cannot be deleted.
    DatabaseError
        If the database does not answer, or something of them is left.
    """
    async with database.accounts() as accounts:
        user = await accounts.get(name)
        notebooks = await accounts.delete(name)
        folders = [run_folder(data_folder, *notebook) for notebook in notebooks]
        await asyncio.to_thread(_remove, folders)
    if left := await traces(database, user.id):
        raise DatabaseError(
            f"`{name}` is deleted, but their id `{user.id}` still stands in {', '.join(left)}; "
            "look at those rows and delete by hand what is theirs."
        )


async def traces(database: Database, user_id: UUID) -> list[str]:
    """Return where the id of a user stands in the database: reads every row of every table."""
    spelled = str(user_id), user_id.hex, str(user_id).encode().hex()  # bytes are shown as hex
    needles = [f"%{spelling}%" for spelling in spelled]
    async with snapshot(database) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(_COLUMNS)
        found: list[str] = []
        for table, columns in await cursor.fetchall():
            await cursor.execute(_search(table, columns), {"needles": needles})
            (numbers,) = await cursor.fetchall()
            found += [
                f"{n} rows of {table}.{column}"
                for column, n in zip(columns, numbers, strict=True)
                if n
            ]
    return found


def _search(table: str, columns: Sequence[Any]) -> sql.Composed:
    counted = [
        sql.SQL("count(*) FILTER (WHERE {}::text LIKE ANY(%(needles)s))").format(
            sql.Identifier(column)
        )
        for column in columns
    ]
    return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(counted), sql.Identifier(table))


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConflictError(
                f"{error.filename or folder} cannot be deleted ({error.strerror or error}); "
                "nothing was deleted from the database. Make the folder writable and ask again."
            ) from error
