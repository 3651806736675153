"""`lab keys`: API keys for programs outside of the hub."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from lab.commands.printing import notes, print_json, print_table
from lab.config import load_settings
from lab.db import open_database
from lab.schemas.api_key import ApiKey
from lab.schemas.scope import Scope

app = typer.Typer(
    help="API keys for programs outside of the hub.", no_args_is_help=True, add_completion=False
)

Owner = Annotated[str | None, typer.Option("--user", help="Whose; the administrator's by default.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    user: Owner = None,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; by default ask and remember.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days until it ends.")] = None,
) -> None:
    """
    Make a key; print it, this once.

    Examples: `lab keys create laptop` · `export LAB_API_KEY=$(lab keys create ci --days 30)`
    """
    scopes = scope or [Scope.custom_lab_infer, Scope.custom_lab_memory]
    ends = datetime.now(UTC) + timedelta(days=days) if days else None
    notes.print("The key is shown this once:")
    typer.echo(asyncio.run(_create(name, _owner(user), scopes, ends)))


@app.command("list")
def list_(
    user: Owner = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """
    List the keys of a user, without their secrets.

    Example: `lab keys list --user ada`
    """
    keys = asyncio.run(_list(_owner(user)))
    if as_json:
        print_json([key.model_dump(mode="json") for key in keys])
        return
    print_table(
        ["id", "name", "scopes", "ends", "last used"],
        [
            (k.id, k.name, " ".join(s.value for s in k.scopes), k.expires_at, k.last_used_at)
            for k in keys
        ],
    )


@app.command()
def revoke(
    id: Annotated[UUID, typer.Argument(help="Of the key, as `lab keys list` shows it.")],
    user: Owner = None,
) -> None:
    """
    Make a key worthless.

    Example: `lab keys revoke 0198f0c2-…`
    """
    asyncio.run(_revoke(id, _owner(user)))
    notes.print("The key is revoked.")


def _owner(name: str | None) -> str:
    return name or load_settings().config.hub.admin


async def _create(name: str, owner: str, scopes: list[Scope], ends: datetime | None) -> str:
    async with open_database(load_settings()) as database:
        async with database.accounts() as accounts:
            if owner == _owner(None):  # the first start may not have made the administrator yet
                await accounts.get_or_create(owner, is_admin=True)
            user = await accounts.get(owner)
        async with database.stores(user.id) as stores:
            _, secret = await stores.api_keys.create(name, scopes, expires_at=ends)
    return secret


async def _list(owner: str) -> list[ApiKey]:
    async with open_database(load_settings()) as database:
        async with database.accounts() as accounts:
            user = await accounts.get(owner)
        async with database.stores(user.id) as stores:
            return await stores.api_keys.list()


async def _revoke(id: UUID, owner: str) -> None:
    async with open_database(load_settings()) as database:
        async with database.accounts() as accounts:
            user = await accounts.get(owner)
        async with database.stores(user.id) as stores:
            await stores.api_keys.delete(id)
