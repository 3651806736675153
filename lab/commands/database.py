"""`lab db`: look after the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.progress import Progress

from lab.commands.printing import notes, print_json, print_table
from lab.config import Settings, load_settings
from lab.db import backups, maintenance, upgrade
from lab.db.connection import place
from lab.db.maintenance import DatabaseStatus, Problem
from lab.db.opening import open_database, running_database
from lab.pipelines import pipeline_factory
from lab.pipelines.catalog import configured
from lab.pipelines.files import known_signature, made_by
from lab.schemas.task import Task
from lab.workflows.reembedding import reembed, waiting

app = typer.Typer(help="Look after the database.", no_args_is_help=True, add_completion=False)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
File = Annotated[Path, typer.Argument(help="The backup.")]


@app.command("upgrade")
def upgrade_() -> None:
    """
    Make the database when there is none, and bring it to the newest schema.

    `lab up` and `lab serve` do so by themselves; run it alone to know when it happens.

    Example: `lab db upgrade`
    """

    async def run() -> tuple[str, DatabaseStatus]:
        async with _database() as (url, timeout_s):
            await upgrade(url, connect_timeout_s=timeout_s)
            return place(url), await maintenance.status(url, timeout_s=timeout_s)

    where, found = asyncio.run(run())
    notes.print(f"The {where} is at revision {found.revision}, the newest.")


@app.command()
def status(as_json: Json = False) -> None:
    """
    Show versions, revision and size, table by table, and which model embedded the memories.

    Example: `lab db status --json`
    """
    model = embedding_model(load_settings())

    async def run() -> tuple[str, DatabaseStatus, int | None]:
        async with _database() as (url, timeout_s):
            found = await maintenance.status(url, timeout_s=timeout_s)
            if model is None or found.revision != found.newest:
                return place(url), found, None
            return place(url), found, await maintenance.waiting(url, model, timeout_s=timeout_s)

    where, found, n_waiting = asyncio.run(run())
    if as_json:
        print_json(
            {"database": where, "embedding_model": model, "n_waiting": n_waiting, **asdict(found)}
        )
        return
    behind = "" if found.revision == found.newest else f", newest {found.newest}: `lab db upgrade`"
    notes.print(
        f"The {where}: PostgreSQL {found.server}, pgvector {found.vector or 'missing'}, "
        f"revision {found.revision or 'none'}{behind}, {decimal(found.n_bytes)}; events and usage "
        f"in {f'chunks of TimescaleDB {found.timescale}' if found.timescale else 'partitions'}."
    )
    if found.embedded:
        print_table(["memories embedded by", "rows"], found.embedded.items())
    if model is None:
        notes.print("The files of the embedding model of the settings are not here yet.")
    elif n_waiting:
        notes.print(f"{n_waiting} memories and facts wait for {model}: `lab db reembed`.")
    print_table(
        ["table", "rows", "dead rows", "size"],
        [(t.name, t.n_rows, t.n_dead, decimal(t.n_bytes)) for t in found.tables],
    )


@app.command()
def check(as_json: Json = False) -> None:
    """
    Look for what is wrong: schema, indexes, rows that point nowhere, memories of another model.

    Exits with 1 when there is something.

    Example: `lab db check`
    """
    model = embedding_model(load_settings())

    async def run() -> list[Problem]:
        async with _database() as (url, timeout_s):
            return await maintenance.check(url, timeout_s=timeout_s, model=model)

    problems = asyncio.run(run())
    if as_json:
        print_json([asdict(problem) for problem in problems])
    elif problems:
        print_table(["found", "what to do"], [(p.found, p.advice) for p in problems])
    else:
        notes.print("Schema, indexes and rows are as they should be.")
    if problems:
        raise typer.Exit(1)


@app.command()
def vacuum() -> None:
    """
    Give back space and refresh what the planner knows; safe while the lab runs.

    Checkpoints of conversations that are gone are deleted. Months of events and of usage go where
    LAB_DATABASE_KEEP_EVENTS_DAYS or LAB_DATABASE_KEEP_USAGE_DAYS say how long they are kept.
    PostgreSQL vacuums by itself too; run it after deleting much.

    Example: `lab db vacuum`
    """

    async def run() -> None:
        with Progress(console=notes, transient=True) as progress:
            task = progress.add_task("Vacuum", total=None)
            async with _database() as (url, timeout_s):
                gone = await maintenance.tend(url, load_settings().config.database)
                done = 0
                async for name, n_left in maintenance.vacuum(url, timeout_s=timeout_s):
                    done += 1
                    progress.update(task, description=name, completed=done, total=done + n_left)
        notes.print(f"{done} tables are vacuumed.")
        for name in gone:
            notes.print(f"{name} was older than is kept, and is gone.")

    asyncio.run(run())


@app.command("reembed")
def reembed_() -> None:
    """
    Embed the memories and facts anew that another model embedded; safe while the lab runs.

    Needed after the embedding model was changed: until then, those of before are found by their
    words alone. Stop it when you like and run it again, it goes on where it was.

    Example: `lab db reembed`
    """
    settings = load_settings()
    done, total = 0, 0

    async def run() -> None:
        nonlocal done, total
        factory = pipeline_factory(settings.config.chat, settings.config.embedding)
        async with AsyncExitStack() as stack:
            database = await stack.enter_async_context(open_database(settings))
            stack.push_async_callback(factory.aclose)
            embedding = await stack.enter_async_context(factory.embedding())
            progress = stack.enter_context(Progress(console=notes, transient=True))
            left = await waiting(database, embedding)
            total = sum(map(len, left.values()))
            task = progress.add_task(f"Embedding with {embedding.signature}", total=total)
            for owner_id, ids in left.items():
                before = done
                async for n in reembed(database, owner_id, embedding, ids):
                    done = before + n
                    progress.update(task, completed=done)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        notes.print(f"Stopped after {done} of {total} memories and facts; run it again to go on.")
        raise typer.Exit(130) from None
    notes.print(f"{done} memories and facts were embedded anew." if total else "Nothing waits.")


@app.command()
def backup(file: File) -> None:
    """
    Write the whole database to one file; safe while the lab runs.

    The file holds everything that anybody said: only you may read it. The hub's logins are no part
    of it, people and their passwords are.

    Example: `lab db backup lab-2026-11-26.backup`
    """

    async def run() -> int:
        with Progress(console=notes, transient=True) as progress:
            progress.add_task("Backup", total=None)
            async with _database() as (url, timeout_s):
                return await backups.backup(url, file, timeout_s=timeout_s)

    notes.print(f"{file}: {decimal(asyncio.run(run()))}.", markup=False)


@app.command()
def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Delete what is in the database first.")
    ] = False,
) -> None:
    """
    Put a backup back, in one transaction: all of it or nothing. Stop the lab first.

    An older backup is brought to the newest schema.

    Examples: `lab db restore lab.backup` · `lab db restore lab.backup --replace`
    """

    async def run() -> str:
        with Progress(console=notes, transient=True) as progress:
            progress.add_task("Restore", total=None)
            async with _database() as (url, timeout_s):
                await backups.restore(url, file, replace=replace, timeout_s=timeout_s)
                return place(url)

    notes.print(f"The {asyncio.run(run())} holds what {file} held.", markup=False)


def embedding_model(settings: Settings) -> str | None:
    """Return the signature of the embedding model, or None where its files are not here."""
    config = settings.config.embedding
    model = configured(config.model, config.revision, Task.embedding)
    return known_signature(model, made_by(config))


@asynccontextmanager
async def _database() -> AsyncIterator[tuple[str, float]]:
    """Yield the URL of the database as it is, and the seconds to wait for a connection."""
    settings = load_settings()
    async with running_database(settings) as url:
        yield url, settings.config.database.connect_timeout_s
