"""The databases that the lab needs on its server."""

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from lab.db import upgrade
from lab.db.connection import connect, conninfo
from lab.errors import DatabaseError

HUB_DATABASE = "jupyterhub"


def hub_database_url(url: str) -> str:
    """
    Return the URL of the hub's database, which is on the same server as the lab's.

    >>> hub_database_url("postgresql://lab:secret@127.0.0.1:5432/lab")
    'postgresql+psycopg://lab:secret@127.0.0.1:5432/jupyterhub'
    """
    hub: URL = make_url(url).set(drivername="postgresql+psycopg", database=HUB_DATABASE)
    return hub.render_as_string(hide_password=False)


async def prepare_databases(url: str, connect_timeout_s: float) -> None:
    """
    Bring the lab's tables up to date and make the hub's database.

    Raises
    ------
    DatabaseError
        If the server does not answer or refuses.
    """
    await upgrade(url, connect_timeout_s=connect_timeout_s)
    try:
        async with await psycopg.AsyncConnection.connect(conninfo(url), autocommit=True) as lab:
            found = await lab.execute("SELECT FROM pg_database WHERE datname = %s", [HUB_DATABASE])
            if not found.rowcount:
                await lab.execute(
                    sql.SQL("CREATE DATABASE {}").format(sql.Identifier(HUB_DATABASE))
                )
    except psycopg.Error as error:
        raise DatabaseError(
            f"The database `{HUB_DATABASE}` could not be made beside the lab's "
            f"({str(error).strip()}); make it and give it to the lab's user."
        ) from error


async def hub_knows(url: str, name: str, connect_timeout_s: float) -> bool:
    """
    Return whether the hub has a record of that name; without a hub it has none.

    Raises
    ------
    DatabaseError
        If the server does not answer.
    """
    async with await connect(url, timeout_s=connect_timeout_s) as lab:
        found = await lab.execute("SELECT FROM pg_database WHERE datname = %s", [HUB_DATABASE])
        if not found.rowcount:
            return False
    async with await connect(hub_database_url(url), timeout_s=connect_timeout_s) as hub:
        try:
            found = await hub.execute("SELECT FROM users WHERE name = %s", [name])
        except psycopg.errors.UndefinedTable:  # made, and the hub never started
            return False
        return bool(found.rowcount)
