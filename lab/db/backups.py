"""
Backups: the whole database in one file, by PostgreSQL's own `pg_dump`, and back again.

A backup is a snapshot that a running lab does not disturb. A restore is one transaction: it ends
with all of the file in the database, or with the database as it was.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lab.db.changes import TELL_OF_ALL
from lab.db.connection import connect, conninfo, place
from lab.db.embedded import binary
from lab.db.migrations import upgrade
from lab.db.new_file import new_file
from lab.errors import ConflictError, DatabaseError, InputError

LOCK_TIMEOUT = "10s"
"""How long a restore waits for those who use the database."""
# All that is no extension's: an owner who may do nothing else on the server could not make the
# extension again.
_EMPTY = """
    DO $$ DECLARE dropping text; BEGIN FOR dropping IN
        SELECT format('DROP %s IF EXISTS %s CASCADE', kind, name) FROM (
            SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'c' THEN 'TYPE'
                ELSE 'TABLE' END AS kind,
                oid::regclass::text AS name, 'pg_class'::regclass AS class, oid,
                relkind NOT IN ('r', 'p') AS later
            FROM pg_class WHERE relnamespace = 'public'::regnamespace
                AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c')
            UNION ALL
            SELECT 'ROUTINE', oid::regprocedure::text, 'pg_proc'::regclass, oid, true
            FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION ALL
            SELECT 'TYPE', oid::regtype::text, 'pg_type'::regclass, oid, true
            FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('d', 'e')
        ) AS ours WHERE NOT EXISTS (
            SELECT FROM pg_depend d WHERE d.classid = class AND d.objid = oid AND deptype = 'e'
        ) ORDER BY later
    LOOP EXECUTE dropping; END LOOP; END $$;
    """
# As in the step that builds the index of embeddings: workers need more shared memory than
# containers often have.
_NO_WORKERS = (
    "DO $$ BEGIN IF current_setting('dynamic_shared_memory_type') <> 'mmap' THEN"
    " SET LOCAL max_parallel_maintenance_workers = 0; END IF; END $$;"
)


async def backup(url: str, file: Path, *, timeout_s: float) -> int:
    """
    Write the database to a file and return its bytes; the file is whole or absent.

    Raises
    ------
    DatabaseError
        If the database does not answer or `pg_dump` fails.
    ConflictError
        If there is such a file.
    InputError
        If the file cannot be written.
    """
    with new_file(file) as part:
        async with await connect(url, timeout_s=timeout_s):
            pass
        await _run(
            url, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={part}"
        )
    return file.stat().st_size


async def restore(url: str, file: Path, *, replace: bool, timeout_s: float) -> None:
    """
    Put a backup into a database and bring it to this lab's schema.

    Parameters
    ----------
    url : str
        URL of the database.
    file : Path
        What `backup` wrote.
    replace : bool
        Replace what is in the database; otherwise it must be empty.
    timeout_s : float
        Seconds to wait for a connection.

    Raises
    ------
    InputError
        If the file is no backup.
    ConflictError
        If the database is not empty, and shall not be replaced, or has TimescaleDB.
    DatabaseError
        If the database does not answer, is in use, or refuses.
    """
    if not os.path.isfile(file):  # Path's raises for a name that is too long
        raise InputError(f"There is no file {file}; name one that `lab db backup` wrote.")
    try:
        await _run(url, "pg_restore", "--list", str(file.absolute()))
    except DatabaseError as error:
        raise InputError(f"{file} is no backup of a lab, or is damaged: {error}") from error
    if not replace and await _tables(url, timeout_s):
        raise ConflictError(
            f"The {place(url)} is not empty; `--replace` deletes what is in it and restores the "
            "file instead."
        )
    await _refuse_chunks(url, timeout_s)
    await _load(url, file)
    await upgrade(url, connect_timeout_s=timeout_s)


async def _load(url: str, file: Path) -> None:
    """Run the file's statements, after those that empty the database, in one transaction."""
    left_out = "--no-owner", "--no-privileges", "--no-comments"  # which only owners may give
    read = "pg_restore", *left_out, "--file=-", str(file.absolute())
    write = "psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"
    async with (
        _tool(url, *read, stdout=PIPE) as reader,
        _tool(url, *write, stdin=PIPE) as writer,
        asyncio.TaskGroup() as tasks,
    ):
        reader_said = tasks.create_task(_words(reader))
        writer_said = tasks.create_task(_words(writer))
        await _pump(reader, writer)
    if reader.returncode or writer.returncode:
        # A reader that we killed, because the writer had ended, is not to blame.
        is_read = reader.returncode in (0, -signal.SIGKILL)
        words = (writer_said if is_read else reader_said).result()
        if "lock timeout" in words:
            words = "the database is in use; stop the lab first (`lab down`)"
        raise DatabaseError(f"Nothing was restored, the database is as it was: {words}.")


async def _pump(reader: Process, writer: Process) -> None:
    """Hand the statements over; `psql` commits when it has seen all of them, and only then."""
    assert reader.stdout is not None, "a pipe was asked for"
    assert writer.stdin is not None, "a pipe was asked for"
    with suppress(BrokenPipeError, ConnectionResetError):  # psql ended first, and says why
        before = f"SET lock_timeout = '{LOCK_TIMEOUT}'; {_NO_WORKERS} {TELL_OF_ALL} {_EMPTY}"
        writer.stdin.write(before.encode())
        while block := await reader.stdout.read(1 << 16):
            writer.stdin.write(block)
            await writer.stdin.drain()
        if await reader.wait() == 0:
            writer.stdin.close()
            return
    for process in (reader, writer):
        _kill(process)
    writer.stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await writer.stdin.wait_closed()


async def _refuse_chunks(url: str, timeout_s: float) -> None:
    """Raise `ConflictError` for a database with TimescaleDB, which our restore would take out."""
    async with await connect(url, timeout_s=timeout_s) as connection:
        found = await connection.execute("SELECT FROM pg_extension WHERE extname = 'timescaledb'")
    if found.rowcount:
        raise ConflictError(
            f"The {place(url)} has TimescaleDB, whose chunks come back by steps of its own; "
            "nothing was changed. Make an empty database with the extension, and run `SELECT "
            "timescaledb_pre_restore()`, `pg_restore --no-owner --no-privileges`, `SELECT "
            "timescaledb_post_restore()` and `lab db upgrade` there."
        )


async def _tables(url: str, timeout_s: float) -> Sequence[object]:
    async with await connect(url, timeout_s=timeout_s) as connection:
        found = await connection.execute(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'"
        )
        return await found.fetchall()


async def _run(url: str, tool: str, *arguments: str) -> None:
    async with _tool(url, tool, *arguments) as process:
        words = await _words(process)
    if process.returncode:
        raise DatabaseError(f"`{tool}` failed: {words}.")


@asynccontextmanager
async def _tool(
    url: str, tool: str, *arguments: str, stdin: int = DEVNULL, stdout: int = DEVNULL
) -> AsyncIterator[Process]:
    """
    Run a tool of PostgreSQL, which has ended when the block has.

    The password goes by the environment, which nobody else reads.
    """
    parts = conninfo_to_dict(conninfo(url))
    password = parts.pop("password", None)
    environment = {"PGPASSWORD": str(password)} if password else {}
    connects = tool != "pg_restore"
    process = await asyncio.create_subprocess_exec(
        str(binary(tool)),
        *arguments,
        *((f"--dbname={make_conninfo('', **parts)}",) if connects else ()),
        stdin=stdin,
        stdout=stdout,
        stderr=PIPE,
        env=environment | {"PGCONNECT_TIMEOUT": "10", "LC_ALL": "C"},
    )
    try:
        yield process
    except BaseException:
        _kill(process)
        raise
    finally:
        # Pipes are emptied: asyncio holds that a process with a full one has not ended.
        await process.communicate()


def _kill(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.kill()


async def _words(process: Process) -> str:
    """Return the last lines that a tool wrote on standard error, on one line."""
    assert process.stderr is not None, "a pipe was asked for"
    lines = (await process.stderr.read()).decode(errors="replace").splitlines()
    told = [line.strip() for line in lines if line.strip()]
    return "; ".join(told[-3:]).rstrip(".") or "it said nothing"
