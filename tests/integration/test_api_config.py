"""The settings of a user, over HTTP and with the client; what the operator locked stays."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.errors import ConfigError, LockedKeyError, UnknownKeyError
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import Api, hello, running_api

pytestmark = pytest.mark.integration

LOCKED = "generation.temperature, memory.enabled, memory.top_k"


@pytest.fixture
async def lab(api: Api, ann: str) -> AsyncIterator[Lab]:
    async with connect(api.url, ann) as lab:
        yield lab


@pytest.fixture
async def locked_api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Return a server whose operator locked some settings."""
    folder = str(tmp_path / "data")
    async with running_api(
        database_url, LAB_DATA_FOLDER=folder, LAB_LIMITS_LOCKED=LOCKED, LAB_MEMORY_TOP_K="5"
    ) as api:
        yield api


async def test_a_setting_is_read_set_and_given_up(lab: Lab) -> None:
    (before,) = await lab.config.explain("memory.top_k")
    changed = await lab.config.set("memory.top_k", 0)
    (now,) = await lab.config.explain("memory.top_k")
    reset = await lab.config.reset("memory.top_k")

    assert (before.value, before.layer, before.user) == (12, "schema default", True)
    assert (changed.value, changed.layer) == (now.value, now.layer) == (0, "user")
    assert reset == before


async def test_settings_that_users_do_not_own_are_shown_and_not_theirs(lab: Lab) -> None:
    shown = {setting.key: setting for setting in await lab.config.explain()}

    assert not shown["server.port"].user
    assert shown["database.url"].value == "**********"
    with pytest.raises(UnknownKeyError, match=r"server\.port"):
        await lab.config.set("server.port", 1)


async def test_a_wrong_setting_changes_nothing(lab: Lab) -> None:
    with pytest.raises(ConfigError, match=r"`memory\.top_k` = 'many' from user"):
        await lab.config.set("memory.top_k", "many")
    with pytest.raises(UnknownKeyError, match=r"Did you mean `memory\.top_k`"):
        await lab.config.reset("memory.topk")
    with pytest.raises(UnknownKeyError, match=r"Did you mean `memory\.top_k`"):
        await lab.config.explain("memory.topk")

    (top_k,) = await lab.config.explain("memory.top_k")
    assert top_k.layer == "schema default"


async def test_keys_are_made_listed_and_revoked(lab: Lab, api: Api) -> None:
    made = await lab.keys.create("laptop")
    names = [key.name for key in await lab.keys.list()]
    async with api.client(made.secret) as client:
        works = await client.get("/v1/models")
        await lab.keys.revoke(made.api_key.id)
        revoked = await client.get("/v1/models")

    assert "laptop" in names
    assert (works.status_code, revoked.status_code) == (200, 401)


async def short_key(database: Database, owner: User, ends: datetime) -> str:
    """Return a key that ends soon and may only remember."""
    async with database.stores(owner.id) as stores:
        _, secret = await stores.api_keys.create("short", [Scope.custom_lab_memory], ends)
    return secret


async def test_a_key_made_with_a_key_ends_with_it_and_may_do_no_more(
    api: Api, database: Database, owner: User
) -> None:
    ends = datetime.now(UTC) + timedelta(minutes=5)
    sooner = ends - timedelta(minutes=1)

    async with connect(api.url, await short_key(database, owner, ends)) as lab:
        open_ended = (await lab.keys.create("child")).api_key
        limited = (await lab.keys.create("sooner", expires_at=sooner)).api_key

    assert (open_ended.expires_at, limited.expires_at) == (ends, sooner)
    assert open_ended.scopes == limited.scopes == [Scope.custom_lab_memory]


@pytest.mark.parametrize(
    ("asked", "status", "says"),
    [
        ({"expires_at": None}, 403, "cannot outlive it"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, 403, "cannot outlive it"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, 400, "which has passed"),
        ({"scopes": ["custom:lab:infer", "custom:lab:memory"]}, 403, "lacks custom:lab:infer"),
        ({"scopes": []}, 400, "`scopes`"),
    ],
)
async def test_a_key_that_would_last_longer_or_may_do_nothing_is_refused(
    api: Api,
    database: Database,
    owner: User,
    asked: dict[str, Any],
    status: int,
    says: str,
) -> None:
    secret = await short_key(database, owner, datetime.now(UTC) + timedelta(minutes=5))

    async with api.client(secret) as client:
        refused = await client.post("/v1/keys", json={"name": "forever", **asked})
        keys = (await client.get("/v1/keys")).json()

    assert refused.status_code == status
    assert says in refused.json()["error"]["message"]
    assert [key["name"] for key in keys] == ["short"]


async def test_settings_that_are_changed_at_the_same_time_are_all_kept(api: Api, ann: str) -> None:
    wanted = {
        "memory.top_k": 3,
        "memory.min_score": 0.5,
        "memory.enabled": False,
        "generation.temperature": 0.25,
        "generation.top_p": 0.5,
        "generation.seed": 7,
        "context.answer_tokens": 64,
    }

    async with api.client(ann) as client:
        for _ in range(3):
            await asyncio.gather(*(client.patch("/v1/config", json=body) for body in each(wanted)))
            shown = {s["key"]: s["value"] for s in (await client.get("/v1/config")).json()}
            resets = (client.delete(f"/v1/config/{key}") for key in wanted)
            answers = await asyncio.gather(*resets)

            assert {key: shown[key] for key in wanted} == wanted
            assert {answer.status_code for answer in answers} == {200}
            left = (await client.get("/v1/config")).json()
            assert [s["key"] for s in left if s["layer"] == "user"] == []


def each(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a request for each setting alone."""
    for key, value in values.items():
        section, name = key.split(".")
        yield {section: {name: value}}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/v1/config", {"memory": {"enabled": False}}),
        ("POST", "/v1/chat/completions", hello(temperature=0.5)),
        ("POST", "/v1/chat/completions", hello(memory=False)),
        ("POST", "/v1/chat/completions", hello(temperature=0.5, stream=True)),
    ],
)
async def test_what_the_operator_locked_is_refused_and_says_so(
    locked_api: Api, ann: str, method: str, path: str, body: dict[str, Any]
) -> None:
    async with locked_api.client(ann) as client:
        refused = await client.request(method, path, json=body)

    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "locked_setting"
    assert "is locked by the operator" in refused.json()["error"]["message"]


async def test_a_lock_wins_over_what_a_user_set_before(
    locked_api: Api, ann: str, database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        await stores.config.set({"memory": {"top_k": 3}})

    async with locked_api.client(ann) as client, connect(locked_api.url, ann) as lab:
        (top_k,) = await lab.config.explain("memory.top_k")
        answered = await client.post("/v1/chat/completions", json=hello())
        other = await lab.config.set("memory.min_score", 0.5)
        with pytest.raises(LockedKeyError):
            await lab.config.set("memory.top_k", 4)

    assert (top_k.value, top_k.layer, top_k.locked) == (5, "environment", True)
    assert answered.status_code == 200
    assert other.layer == "user"
