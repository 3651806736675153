"""
Backups: the whole database in one file, by PostgreSQL's own `pg_dump`, and back again.

A backup is a snapshot that a running lab does not disturb. A restore is one transaction: it ends
with all of the file in the database, or with the database as it was.
"""

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from lab.db.connection import connect, conninfo, place
from lab.db.embedded import binary
from lab.db.migrations import upgrade
from lab.errors import ConflictError, DatabaseError, InputError

LOCK_TIMEOUT = "10s"
"""How long a restore waits for those who use the database."""
_EMPTY = "DROP SCHEMA public CASCADE; CREATE SCHEMA public;"


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
    if file.exists():
        raise ConflictError(f"{file} exists; name another file, or remove this one.")
    async with await connect(url, timeout_s=timeout_s):
        pass
    part = file.with_name(f".{file.name}.part")
    try:
        part.unlink(missing_ok=True)
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise InputError(
            f"{file} cannot be written ({error.strerror}); name a file in a folder that exists "
            "and is yours."
        ) from error
    try:
        await _run(
            ("pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={part}"), url
        )
        part.rename(file)
    finally:
        part.unlink(missing_ok=True)
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
        If the database is not empty, and shall not be replaced.
    DatabaseError
        If the database does not answer, is in use, or refuses.
    """
    if not file.is_file():
        raise InputError(f"There is no file {file}; name one that `lab db backup` wrote.")
    try:
        await _run(("pg_restore", "--list", str(file)), url, stdout=DEVNULL)
    except DatabaseError as error:
        raise InputError(f"{file} is no backup of a lab, or is damaged: {error}") from error
    if not replace and await _tables(url, timeout_s):
        raise ConflictError(
            f"The {place(url)} is not empty; `--replace` deletes what is in it and restores the "
            "file instead."
        )
    await _load(url, file)
    await upgrade(url, connect_timeout_s=timeout_s)


async def _load(url: str, file: Path) -> None:
    """Run the file's statements, after those that empty the database, in one transaction."""
    reader = await _start(
        ("pg_restore", "--no-owner", "--no-privileges", "--file=-", str(file)), url, stdout=PIPE
    )
    writer = await _start(
        ("psql", "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"),
        url,
        stdin=PIPE,
        stdout=DEVNULL,
    )
    said = asyncio.gather(_words(reader), _words(writer))
    try:
        assert reader.stdout is not None, "a pipe was asked for"
        assert writer.stdin is not None, "a pipe was asked for"
        writer.stdin.write(f"SET lock_timeout = '{LOCK_TIMEOUT}'; {_EMPTY}".encode())
        whole = await _pump(reader, writer)
        if not whole:
            writer.kill()  # with its connection ends the transaction
        await asyncio.gather(reader.wait(), writer.wait())
        reader_said, writer_said = await said
    finally:
        for process in (reader, writer):
            if process.returncode is None:
                process.kill()
                await process.wait()
    if writer.returncode or reader.returncode:
        words = writer_said if whole else reader_said
        if "lock timeout" in words:
            words = "the database is in use; stop the lab first (`lab down`)"
        raise DatabaseError(f"Nothing was restored, the database is as it was: {words}.")


async def _pump(reader: Process, writer: Process) -> bool:
    """Hand over the statements; return whether the file was read to its end without an error."""
    assert reader.stdout is not None, "a pipe was asked for"
    assert writer.stdin is not None, "a pipe was asked for"
    try:
        while block := await reader.stdout.read(1 << 16):
            writer.stdin.write(block)
            await writer.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        reader.kill()
        return True  # psql ended first, and says why
    whole = await reader.wait() == 0
    if whole:
        writer.stdin.close()
    return whole


async def _tables(url: str, timeout_s: float) -> Sequence[object]:
    async with await connect(url, timeout_s=timeout_s) as connection:
        found = await connection.execute(
            "SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public'"
        )
        return await found.fetchall()


async def _run(command: Sequence[str], url: str, stdout: int = DEVNULL) -> None:
    process = await _start(command, url, stdout=stdout)
    try:
        words = await _words(process)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise DatabaseError(f"`{command[0]}` failed: {words}.")


async def _start(
    command: Sequence[str], url: str, *, stdin: int = DEVNULL, stdout: int = DEVNULL
) -> Process:
    """Start a tool of PostgreSQL; the password goes by the environment, which nobody else reads."""
    parts = conninfo_to_dict(conninfo(url))
    password = parts.pop("password", None)
    environment = {"PGPASSWORD": str(password)} if password else {}
    tool, *arguments = command
    connects = tool != "pg_restore"
    return await asyncio.create_subprocess_exec(
        str(binary(tool)),
        *arguments,
        *((f"--dbname={make_conninfo('', **parts)}",) if connects else ()),
        stdin=stdin,
        stdout=stdout,
        stderr=PIPE,
        env=environment | {"PGCONNECT_TIMEOUT": "10", "LC_ALL": "C"},
    )


async def _words(process: Process) -> str:
    """Return the last lines that a tool wrote on standard error, on one line."""
    assert process.stderr is not None, "a pipe was asked for"
    lines = (await process.stderr.read()).decode(errors="replace").splitlines()
    told = [line.strip() for line in lines if line.strip()]
    return "; ".join(told[-3:]).rstrip(".") or "it said nothing"
