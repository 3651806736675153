"""A database that goes away is a clear 503, and the API recovers when it is back."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.db import Database, EmbeddedPostgres, upgrade
from lab.schemas.database_config import DatabaseConfig
from tests.api_server import hello, key_of, running_api
from tests.database import OS_USER
from tests.ports import free_port

pytestmark = pytest.mark.integration


async def new_key(url: str) -> str:
    async with Database(DatabaseConfig(), url) as database:
        async with database.accounts() as accounts:
            user = await accounts.get_or_create("ann")
        return await key_of(database, user)


async def test_a_lost_database_is_told_and_survived() -> None:
    with TemporaryDirectory(prefix="lab-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedPostgres(Path(folder) / "postgres", free_port(), OS_USER)
        async with server.running():
            url = server.url()
            await upgrade(url)
            key = await new_key(url)
            async with (
                running_api(url, LAB_DATABASE_CONNECT_TIMEOUT_S="2") as api,
                api.client(key) as client,
            ):
                await server.stop()
                lost = await client.post("/v1/chat/completions", json=hello())
                unready = await client.get("/readyz")
                alive = await client.get("/healthz")
                async with server.running():
                    back = await client.post("/v1/chat/completions", json=hello())

    assert (lost.status_code, unready.status_code, alive.status_code) == (503, 503, 200)
    assert lost.json()["error"]["code"] == "database_unavailable"
    assert "does not answer" in lost.json()["error"]["message"]
    assert back.status_code == 200
