"""What models were used for, as a person and an administrator see it."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.client import connect
from lab.db import Database
from lab.errors import PermissionDeniedError
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import USER_SCOPES, Api, hello, key_of

pytestmark = pytest.mark.integration


async def test_each_finished_answer_is_counted_for_its_user(api: Api, ann: str, bob: str) -> None:
    spent = []
    async with api.client(ann) as hers, api.client(bob) as his:
        for client in (hers, hers, his):
            answer = (await client.post("/v1/chat/completions", json=hello())).json()
            spent.append(answer["usage"])
        (day,) = (await hers.get("/v1/usage")).json()

    assert (day["user"], day["model"], day["n_generations"]) == ("ann", "lab-tiny", 2)
    assert day["prompt_tokens"] == sum(usage["prompt_tokens"] for usage in spent[:2])
    assert day["completion_tokens"] == sum(usage["completion_tokens"] for usage in spent[:2])
    assert day["seconds"] > 0


async def test_what_was_used_stays_used_when_the_chat_is_deleted(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        chat = (await client.post("/v1/conversations", json={"title": "Named"})).json()["id"]
        await client.post("/v1/chat/completions", json=hello(conversation_id=chat))
        before = (await client.get("/v1/usage")).json()
        await client.delete(f"/v1/conversations/{chat}")
        after = (await client.get("/v1/usage")).json()

    assert [day["n_generations"] for day in before] == [1]
    assert after == before


async def test_only_administrators_see_everybodys(
    api: Api, ann: str, bob: str, database: Database, owner: User
) -> None:
    admin = await key_of(database, owner, [*USER_SCOPES, Scope.custom_lab_admin])
    async with connect(api.url, bob) as lab:
        await lab.chat("Hello.", max_new_tokens=4)
        with pytest.raises(PermissionDeniedError):
            await lab.usage(everybody=True)
    async with connect(api.url, admin) as lab:
        assert await lab.usage(7) == []
        assert [day.user for day in await lab.usage(7, everybody=True)] == ["bob"]


async def test_days_that_are_none_are_refused(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        answer = await client.get("/v1/usage", params={"days": 0})

    assert answer.status_code == 400
    assert "`days`" in answer.json()["error"]["message"]


async def test_the_command_prints_a_table_or_json(
    api: Api, ann: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_API_URL", api.url)
    monkeypatch.setenv("LAB_API_KEY", ann)
    async with connect(api.url, ann) as lab:
        await lab.chat("Hello.", max_new_tokens=4)

    table = await asyncio.to_thread(CliRunner().invoke, main, ["usage"])
    as_json = await asyncio.to_thread(CliRunner().invoke, main, ["usage", "-n", "1", "--json"])

    assert " ann " in table.stdout
    assert json.loads(as_json.stdout)[0]["model"] == "lab-tiny"
