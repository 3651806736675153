"""A database of a PostgreSQL with TimescaleDB and pgvector, which LAB_TEST_TIMESCALE_URL names."""

import os
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from lab.db import upgrade
from lab.db.connection import conninfo
from lab.db.ids import new_id


@pytest.fixture
async def empty_url() -> AsyncIterator[str]:
    """Yield the URL of a new database with the extension; its user may make databases."""
    server = os.environ.get("LAB_TEST_TIMESCALE_URL")
    if not server:
        pytest.fail(
            "These tests need LAB_TEST_TIMESCALE_URL, a PostgreSQL with TimescaleDB.",
            pytrace=False,
        )
    name = f"test_{new_id().hex}"
    place = make_url(server).set(drivername="postgresql", database=name)
    url = place.render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(conninfo(server), autocommit=True) as admin:
        await admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
            yield url
        finally:
            await admin.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
async def url(empty_url: str) -> str:
    """Return the URL of a migrated database."""
    await upgrade(empty_url)
    return empty_url
