"""
Everything that is stored of a user, in one archive that other programs read.

Rows come as JSON Lines, a file a table, and files as they are. Secrets stay out, and so does what
was computed from the texts: whoever takes their data with them wants what they said.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from importlib.metadata import version
from mimetypes import guess_extension
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile

from pgvector.sqlalchemy import VECTOR
from psycopg import AsyncConnection, sql
from psycopg.rows import tuple_row
from sqlalchemy import Column, LargeBinary, Table
from sqlalchemy.dialects.postgresql import TSVECTOR

from lab.db.belongings import owned_tables, run_folder, snapshot
from lab.db.database import Database
from lab.db.new_file import new_file
from lab.errors import UnavailableError
from lab.schemas.user import User

SECRETS = frozenset({"users.password_hash", "api_keys.secret_hash"})
"""Columns that open doors."""
COMPUTED = frozenset({"document_chunks", "memory_contexts", "memory_terms", "web_chunks"})
"""Tables of which every row is computed from a text that is exported."""
Batches = AsyncGenerator[list[tuple[Any, ...]], None]
BATCH = 200
"""Rows in memory at once; one may hold a whole receipt."""

_README = """\
# What LLM ML Lab stored of {name}

Written on {day}; `manifest.json` says so for programs.

- `TABLE.jsonl`: one row of the table a line, as JSON; times carry their offset. `conversations`
  and `messages` are what was said, `memories` what can be found again, `summaries` what was made
  of them (`summary_sources`: of which), `facts` what they told, `runs` and `events` how answers
  came about (`receipt`: what was put before the model), `usage` what they cost, `documents` the
  texts of files that were added, `files` what pictures and other files are, `images` how pictures
  were made, `todos`, `research_tasks` with `research_steps`, `search_results` and
  `research_citations`, `web_pages` the pages of the web that were read, `dynamic_tools` and
  `model_profiles` what they say, `eval_runs` and `schedules` the evaluations, `user_configs` the
  settings, `api_keys` the keys without their secrets.
- `files/`: the bytes of `files` and the snapshots of `web_pages` (WARC), called by their ids, and
  what lies in the lab's data folder for these rows, such as executed notebooks.

Left out: the hashes of the password and of the keys, which only open doors; embeddings, the index
of words and the passages of documents and pages, which are computed from the texts; the graph's
checkpoints, which hold the texts of `messages` once more. Notebooks in JupyterLab are files of
their own: download them there.
"""


async def export(database: Database, user: User, data_folder: Path, file: Path) -> dict[str, int]:
    """
    Write what a user owns to a file, which is whole or absent; return the rows by table.

    Raises
    ------
    ConflictError
        If there is such a file.
    InputError
        If it cannot be written.
    DatabaseError
        If the database does not answer.
    """
    with new_file(file) as part, part.open("wb") as target:
        counts = await _write(database, user, data_folder, target)
        target.flush()
        os.fsync(target.fileno())
    return counts


async def open_export(database: Database, user: User, data_folder: Path) -> IO[bytes]:
    """
    Return the archive as a file without a name, which is gone when it is closed.

    So a slow download holds no connection to the database, and a killed process leaves nothing.

    Raises
    ------
    UnavailableError
        If the data folder has no room.
    DatabaseError
        If the database does not answer.
    """
    try:
        data_folder.mkdir(parents=True, exist_ok=True)
        target = TemporaryFile(dir=data_folder)  # noqa: SIM115 - the caller closes it
        try:
            await _write(database, user, data_folder, target)
        except BaseException:
            target.close()
            raise
    except OSError as error:
        raise UnavailableError(
            f"The archive could not be written on the lab's machine ({error.strerror or error}); "
            "tell the operator."
        ) from error
    return target


async def _write(
    database: Database, user: User, data_folder: Path, target: IO[bytes]
) -> dict[str, int]:
    now = datetime.now(UTC)
    counts: dict[str, int] = {}
    n_files = 0
    with ZipFile(target, "w", ZIP_DEFLATED, strict_timestamps=False) as archive:
        archive.writestr("README.md", _README.format(name=user.name, day=f"{now:%F}"))
        async with snapshot(database) as connection:
            for table, owner in owned_tables():
                if table.name not in COMPUTED:
                    rows = _batches(connection, _statement(table, owner), user.id)
                    counts[table.name] = await _add_rows(archive, table.name, rows)
            async with aclosing(_batches(connection, _NOTEBOOKS, user.id)) as batches:
                async for runs in batches:
                    for run in runs:
                        folder = run_folder(data_folder, *run)
                        n_files += await asyncio.to_thread(_add_files, archive, folder, data_folder)
            for contents in (_CONTENTS, _SNAPSHOTS):
                n_files += await _add_contents(
                    archive, _batches(connection, contents, user.id, size=1)
                )
            (((revision,),),) = [rows async for rows in _batches(connection, _REVISION)]
        manifest = {
            "user": user.name,
            "exported_at": now.isoformat(),
            "lab_version": version("llm-ml-lab"),
            "schema_revision": revision,
            "rows": counts,
            "files": n_files,
        }
        archive.writestr("manifest.json", json.dumps(manifest, indent=2))
    return counts


async def _add_rows(archive: ZipFile, table: str, rows: Batches) -> int:
    n_rows = 0
    async with aclosing(rows):
        with archive.open(f"{table}.jsonl", "w", force_zip64=True) as lines:
            async for batch in rows:
                text = "".join(f"{line}\n" for (line,) in batch)
                await asyncio.to_thread(lines.write, text.encode())
                n_rows += len(batch)
    return n_rows


async def _add_contents(archive: ZipFile, rows: Batches) -> int:
    n_files = 0
    async with aclosing(rows):
        async for ((id, media_type, content),) in rows:
            inside = f"files/{id}{_ENDINGS.get(media_type) or guess_extension(media_type) or ''}"
            await asyncio.to_thread(archive.writestr, inside, content)
            n_files += 1
    return n_files


def _add_files(archive: ZipFile, folder: Path, data_folder: Path) -> int:
    """Add the files of a folder, if it is there; links lead elsewhere and stay out."""
    n_files = 0
    for place, _, names in os.walk(folder):
        for name in sorted(names):
            file = Path(place, name)
            if file.is_file() and not file.is_symlink():
                inside = os.fsencode(file.relative_to(data_folder.resolve())).decode(
                    errors="replace"
                )
                archive.write(file, f"files/{inside}")
                n_files += 1
    return n_files


_NOTEBOOKS = sql.SQL(
    "SELECT id, executed_notebook FROM eval_runs"
    " WHERE owner_id = %s AND executed_notebook IS NOT NULL ORDER BY id"
)
_CONTENTS = sql.SQL("SELECT id, media_type, content FROM files WHERE owner_id = %s ORDER BY id")
_SNAPSHOTS = sql.SQL(
    "SELECT id, 'application/warc', warc FROM web_pages WHERE owner_id = %s ORDER BY id"
)
_ENDINGS = {"application/warc": ".warc.gz"}
_REVISION = sql.SQL("SELECT version_num FROM alembic_version")


def _statement(table: Table, owner: Column[Any]) -> sql.Composed:
    """Return the query for a user's rows as JSON; PostgreSQL writes it, so nothing is lost."""
    shown = [
        column.name
        for column in table.columns
        if not isinstance(column.type, VECTOR | TSVECTOR | LargeBinary)
        and f"{table.name}.{column.name}" not in SECRETS
    ]
    return sql.SQL(
        "SELECT row_to_json(r)::text"
        " FROM (SELECT {shown} FROM {table} WHERE {owner} = %s ORDER BY {key}) r"
    ).format(
        shown=_names(shown),
        table=sql.Identifier(table.name),
        owner=sql.Identifier(owner.name),
        key=_names(column.name for column in table.primary_key),
    )


def _names(columns: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


async def _batches(
    connection: AsyncConnection[Any],
    statement: sql.SQL | sql.Composed,
    *owner: UUID,
    size: int = BATCH,
) -> Batches:
    """Yield rows, `size` at a time; the server keeps those that are not asked for yet."""
    async with connection.cursor("export", row_factory=tuple_row) as cursor:
        await cursor.execute(statement, owner)
        while rows := await cursor.fetchmany(size):
            yield rows
