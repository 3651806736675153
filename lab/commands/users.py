"""`lab users`: who may log in."""

import asyncio
import secrets
from typing import Annotated

import typer

from lab.commands.printing import notes, print_json, print_table
from lab.config import load_settings
from lab.db import open_database
from lab.errors import ConflictError
from lab.schemas.user import User

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
