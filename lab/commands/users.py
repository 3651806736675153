"""`lab users`: who may log in."""

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from lab.commands.printing import notes, print_json, print_table
from lab.config import Settings, load_settings
from lab.db import Database, open_database
from lab.db.belongings import count
from lab.db.cache import erase_shared
from lab.db.export import export
from lab.db.forgetting import forget
from lab.db.opening import running_database
from lab.errors import ConflictError, InputError
from lab.schemas.user import User
from lab.supervisor.databases import hub_knows

PASSWORD_BYTES = 12

app = typer.Typer(help="The people who may log in.", no_args_is_help=True, add_completion=False)

Name = Annotated[str, typer.Argument(help="Login name.")]


@app.command()
def add(
    name: Name,
    admin: Annotated[bool, typer.Option("--admin", help="May administer the lab.")] = False,
) -> None:
    """
    Let somebody log in; print the password, this once.

    Examples: `lab users add ada` · `lab users add grace --admin`
    """
    _tell(name, asyncio.run(_add(name, is_admin=admin)))


@app.command("list")
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    List everybody.

    Example: `lab users list`
    """
    users = asyncio.run(_list())
    if as_json:
        print_json([user.model_dump(mode="json") for user in users])
        return
    print_table(
        ["name", "admin", "may log in", "groups", "since"],
        [
            (u.name, _yes(u.is_admin), _yes(u.is_active), ", ".join(u.groups), f"{u.created_at:%F}")
            for u in users
        ],
    )


@app.command()
def passwd(name: Name) -> None:
    """
    Give somebody a new password; print it, this once.

    Example: `lab users passwd admin`
    """
    _tell(name, asyncio.run(_new_password(name)))


@app.command("export")
def export_(
    name: Name, file: Annotated[Path, typer.Argument(help="The archive to write, a zip.")]
) -> None:
    """
    Write all that somebody owns to one file, which only you may read.

    Rows are JSON Lines, a file a table; executed notebooks lie beside them. What stands in the file
    is told in its README. Safe while the lab runs.

    Example: `lab users export ada ada.zip`
    """

    async def run() -> dict[str, int]:
        settings = load_settings()
        async with open_database(settings) as database:
            user = await _user(database, name)
            return await export(database, user, settings.data_folder, file)

    n_rows = sum(asyncio.run(run()).values())
    size = decimal(file.stat().st_size)
    notes.print(f"{file}: {n_rows} rows, {size}.", markup=False, soft_wrap=True)


@app.command("forget")
def forget_(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """
    Delete somebody with all that they own, and search the database for what is left.

    Shows how much it is and asks for the name once more. Rows, checkpoints, jobs and executed
    notebooks go; what the lab does not own is told and stays. Consider `lab users export` first.

    Examples: `lab users forget ada` · `lab users forget ada --yes`
    """
    settings = load_settings()
    with asyncio.Runner() as runner, _kept_open(runner, open_database(settings)) as database:
        print_table(["table", "rows"], runner.run(_count(database, name)).items())
        if not yes:
            _confirm(name)
        left = runner.run(_forget(database, settings, name))
    notes.print(f"All of `{name}` is deleted, and the database holds no trace of them.")
    for what in left:
        notes.print(f"Left for you: {what}.", markup=False, soft_wrap=True)


@contextmanager
def _kept_open(
    runner: asyncio.Runner, database: AbstractAsyncContextManager[Database]
) -> Iterator[Database]:
    """Keep the database open between steps, while nothing of the loop swallows a Ctrl-C."""
    opened = runner.run(database.__aenter__())
    try:
        yield opened
    finally:
        runner.run(database.__aexit__(None, None, None))


async def _count(database: Database, name: str) -> dict[str, int]:
    user = await _user(database, name)
    return await count(database, user.id)


async def _forget(database: Database, settings: Settings, name: str) -> list[str]:
    """Delete somebody; return what of them is not the lab's to delete."""
    config = settings.config
    user = await _user(database, name)
    await forget(database, settings.data_folder, name)
    copies = await erase_shared(config.cache, database, user.id)
    async with running_database(settings) as url:
        known = await hub_knows(url, name, config.database.connect_timeout_s)
    home = settings.data_folder / "homes" / name
    left = ["backups and exports that were made before"]
    if known:
        left.append("the hub's own record of the name; delete it on its page /hub/admin")
    if copies:
        left.append(copies)
    if home.exists():
        left.append(f"their notebooks in {home}")
    return left


def _confirm(name: str) -> None:
    if (typed := typer.prompt(f"Type `{name}` to delete all of it", err=True)) != name:
        raise InputError(f"`{typed}` is not `{name}`; nothing was deleted.")


async def _user(database: Database, name: str) -> User:
    async with database.accounts() as accounts:
        return await accounts.get(name)


async def _add(name: str, *, is_admin: bool) -> str:
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    async with open_database(load_settings()) as database, database.accounts() as accounts:
        if any(user.name == name for user in await accounts.list()):
            raise ConflictError(f"There is a user `{name}` already; `lab users passwd {name}`.")
        await accounts.get_or_create(name, is_admin=is_admin)
        await accounts.set_password(name, password)
    return password


async def _new_password(name: str) -> str:
    password = secrets.token_urlsafe(PASSWORD_BYTES)
    async with open_database(load_settings()) as database, database.accounts() as accounts:
        await accounts.set_password(name, password)
    return password


async def _list() -> list[User]:
    async with open_database(load_settings()) as database, database.accounts() as accounts:
        return await accounts.list()


def _tell(name: str, password: str) -> None:
    notes.print(f"The password of `{name}`, shown this once:")
    typer.echo(password)


def _yes(value: bool) -> str:
    return "yes" if value else "no"
