"""Keys and settings are copied between requests, and a change of them still holds at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.db import Database
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import Api, running_api
from tests.redis_server import PASSWORD, RedisServer

pytestmark = pytest.mark.integration

runner = CliRunner()


@pytest.fixture
async def sharing(
    database_url: str, database: Database, tmp_path: Path, redis_server: RedisServer
) -> AsyncIterator[tuple[Api, Api]]:
    """Return two servers that share a Redis."""
    variables = {"LAB_DATA_FOLDER": str(tmp_path / "data"), "LAB_CACHE_URL": redis_server.url}
    async with (
        running_api(database_url, **variables) as one,
        running_api(database_url, **variables) as two,
    ):
        yield one, two


@pytest.fixture
def lab_of(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let commands mean the lab of this database."""
    monkeypatch.setenv("LAB_DATABASE_URL", database_url)
    monkeypatch.setenv("LAB_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "300")
    return tmp_path / "data"


async def command(*arguments: str, code: int = 0) -> str:
    """Run a command in a thread, because it has an event loop of its own; return what it shows."""
    result = await asyncio.to_thread(runner.invoke, main, arguments)
    assert result.exit_code == code, result.output
    return result.output


async def status(client: httpx.AsyncClient) -> int:
    return (await client.get("/v1/me")).status_code


async def until_refused(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(2):
        while await status(client) != 401:
            await asyncio.sleep(0.01)


async def metric(api: Api, name: str) -> float:
    async with api.client(None) as client:
        text = (await client.get("/metrics")).text
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


async def test_a_key_is_looked_up_once(api: Api, ann: str) -> None:
    before = await metric(api, "lab_cache_misses_total")
    hits = await metric(api, "lab_cache_hits_total")

    async with api.client(ann) as client:
        assert [await status(client) for _ in range(5)] == [200] * 5

    assert await metric(api, "lab_cache_misses_total") == before + 1
    assert await metric(api, "lab_cache_hits_total") == hits + 4


async def test_a_key_that_was_revoked_over_http_does_nothing_more(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        (key,) = (await client.get("/v1/keys")).json()
        assert (await client.delete(f"/v1/keys/{key['id']}")).status_code == 204
        assert await status(client) == 401


async def test_a_key_that_was_revoked_on_the_command_line_does_nothing_more(
    api: Api, ann: str, lab_of: Path
) -> None:
    async with api.client(ann) as client:
        (key,) = (await client.get("/v1/keys")).json()
        assert await status(client) == 200

        await command("keys", "revoke", key["id"], "--user", "ann")

        await until_refused(client)


async def test_a_key_that_was_revoked_at_one_server_does_nothing_at_the_other(
    sharing: tuple[Api, Api], ann: str
) -> None:
    one, two = sharing
    async with one.client(ann) as here, two.client(ann) as there:
        assert (await status(here), await status(there)) == (200, 200)
        (key,) = (await here.get("/v1/keys")).json()
        assert (await here.delete(f"/v1/keys/{key['id']}")).status_code == 204
        assert (await status(there), await status(here)) == (401, 401)


async def test_a_key_ends_in_its_time_though_it_was_copied(
    api: Api, database: Database, owner: User
) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=2)
    async with database.stores(owner.id) as stores:
        _, secret = await stores.api_keys.create("short", [Scope.custom_lab_memory], ends)

    async with api.client(secret) as client:
        assert await status(client) == 200
        await asyncio.sleep(2.1)
        refused = await client.get("/v1/me")

    assert refused.status_code == 401
    assert "ended on" in refused.json()["error"]["message"]


async def test_somebody_who_may_not_log_in_any_more_is_refused(
    api: Api, ann: str, database: Database
) -> None:
    async with api.client(ann) as client:
        assert await status(client) == 200
        async with database.accounts() as accounts:
            await accounts.update("ann", is_active=False)
        await until_refused(client)


async def test_settings_that_were_changed_at_one_server_hold_at_the_other(
    sharing: tuple[Api, Api], ann: str
) -> None:
    one, two = sharing

    async def top_k(client: httpx.AsyncClient) -> int:
        (found,) = (await client.get("/v1/config", params={"key": "memory.top_k"})).json()
        return int(found["value"])

    async with one.client(ann) as here, two.client(ann) as there:
        await top_k(there)
        for n in (3, 7):
            await here.patch("/v1/config", json={"memory": {"top_k": n}})
            assert (await top_k(there), await top_k(here)) == (n, n)


async def test_no_secret_and_nobody_elses_settings_stand_in_redis(
    sharing: tuple[Api, Api], ann: str, bob: str, redis_server: RedisServer
) -> None:
    one, _ = sharing
    for key in (ann, bob):
        async with one.client(key) as client:
            await client.get("/v1/config")

    contents = await redis_server.contents()

    assert len([name for name in contents if ":copy:settings:" in name]) == 2
    assert not any(secret in f"{contents}" for secret in (ann, bob, PASSWORD))


async def test_without_its_redis_the_lab_works_on_and_says_so(
    sharing: tuple[Api, Api],
    ann: str,
    redis_server: RedisServer,
    lab_of: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_CACHE_URL", redis_server.url)
    one, _ = sharing
    async with one.client(ann) as client:
        assert (await client.get("/readyz")).json() == {"status": "ready", "cache": "redis"}
        examined = await command("doctor", "--json", code=await doctors_code())
        await redis_server.kill()

        assert [await status(client) for _ in range(3)] == [200] * 3
        lost = await client.get("/readyz")
        counted = await metric(one, "lab_cache_errors_total"), await metric(one, "lab_cache_lost")
        missed = await command("doctor", "--json", code=1)

        await redis_server.start()
        async with asyncio.timeout(5):
            while (await client.get("/readyz")).json()["cache"] != "redis":
                await asyncio.sleep(0.05)

    assert lost.status_code == 200
    assert lost.json() == {"status": "ready", "cache": "redis lost, process"}
    assert counted == (1, 1)
    assert f"Redis at 127.0.0.1:{redis_server.port}, database 0, version" in examined
    assert "does not answer" in missed
    assert PASSWORD not in examined + missed


async def doctors_code() -> int:
    """Return what `lab doctor` says of this machine, whose other parts are not what is asked."""
    return (await asyncio.to_thread(runner.invoke, main, ["doctor"])).exit_code


async def test_forgetting_somebody_leaves_nothing_of_them_in_redis(
    sharing: tuple[Api, Api],
    ann: str,
    bob: str,
    owner: User,
    redis_server: RedisServer,
    lab_of: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_CACHE_URL", redis_server.url)
    one, _ = sharing
    for key in (ann, bob):
        async with one.client(key) as client:
            await client.patch("/v1/config", json={"roles": {"primary": f"of-{key[:8]}"}})

    shown = await command("users", "forget", "ann", "--yes")

    contents = f"{await redis_server.contents()}"
    assert not any(mark in contents for mark in (str(owner.id), "ann", f"of-{ann[:8]}"))
    assert f"of-{bob[:8]}" in contents
    assert "Redis" not in shown


async def test_forgetting_somebody_without_redis_says_what_may_be_left(
    database: Database,
    owner: User,
    redis_server: RedisServer,
    lab_of: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LAB_CACHE_URL", redis_server.url)
    await redis_server.kill()

    shown = await command("users", "forget", "ann", "--yes")

    assert "All of `ann` is deleted" in shown
    assert f"Left for you: copies in the Redis at 127.0.0.1:{redis_server.port}" in shown


async def test_a_url_that_is_no_redis_is_refused_without_its_password(
    lab_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_CACHE_URL", f"http://:{PASSWORD}@127.0.0.1:6379")

    shown = await command("config", "check", code=1)
    explained = await command("config", "explain", "cache.url")

    assert "LAB_CACHE_URL is not the URL of a Redis" in shown
    assert "**********" in explained
    assert PASSWORD not in shown + explained
