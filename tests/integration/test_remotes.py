"""Models of other servers, as people, clients and administrators meet them."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.client import connect
from lab.errors import RemoteError
from tests.api_server import Api, hello, running_api
from tests.peer_server import Peer, Reply, chunk, running_peer, said, stream_of, usage

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"
KEY = "sk-of-the-operator"


@pytest.fixture(scope="module")
async def there() -> AsyncIterator[Peer]:
    """Another server, with the models `big` and `small`."""
    async with running_peer() as peer:
        cards = [{"id": name, "max_model_len": 4096} for name in ("big", "small")]
        peer.answers["/v1/models"] = [Reply(pieces=[json.dumps({"data": cards})])]
        yield peer


@pytest.fixture(scope="module")
async def api_app_with_remotes(
    database_url: str, there: Peer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    endpoint = {"name": "there", "url": f"{there.url}/v1", "key": KEY, "kind": "vllm"}
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path_factory.mktemp("remotes")),
        "LAB_REMOTES_ENDPOINTS": json.dumps([endpoint | {"retries": 0}]),
        "LAB_CHAT_MODEL": "there/big",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(api_app_with_remotes: Api, there: Peer, ann: str) -> AsyncIterator[Api]:
    there.requests.clear()
    yield api_app_with_remotes
    await api_app_with_remotes.until_idle()


async def test_they_are_listed_beside_the_labs_own(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        cards = {card["id"]: card for card in (await client.get("/v1/models")).json()["data"]}

    assert {"default", "lab-tiny", "there/big", "there/small"} <= set(cards)
    assert cards["default"]["model"] == "there/big"
    assert not cards["there/big"]["loaded"]


async def test_a_conversation_on_one_is_remembered_and_recalled(
    api: Api, there: Peer, ann: str
) -> None:
    there.answers[CHAT] = [said("I see.", 30, 3)]
    async with connect(api.url, token=ann) as lab:
        talk = await lab.conversations.create()
        answer = await lab.chat(
            "My dog is called Zamiko.", model="there/small", conversation=talk.id
        )
        await lab.chat("What is my dog called?", model="there/small", conversation=talk.id)

    assert answer.text == "I see."
    shown = [json.dumps(one.body["messages"]) for one in there.requests if one.body]
    assert any("What is my dog called?" in one and "Zamiko" in one for one in shown)


async def test_an_answer_streams_through_with_thinking_and_usage(
    api: Api, there: Peer, ann: str
) -> None:
    pieces = [chunk({"reasoning": "Hm."}), chunk({"content": "Good"}), chunk({"content": " day"})]
    there.answers[CHAT] = [stream_of(*pieces, chunk(finish_reason="stop"), usage(8, 3))]
    request = hello(model="there/big", stream=True, stream_options={"include_usage": True})

    async with api.client(ann) as client:
        response = await client.post(CHAT, json=request)

    chunks = [
        json.loads(line.removeprefix("data: "))
        for line in response.text.splitlines()
        if line.startswith("data: {")
    ]
    deltas = [one["choices"][0]["delta"] for one in chunks if one["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Good day"
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "Hm."
    assert chunks[-1]["usage"]["prompt_tokens"] == 8


async def test_a_failure_there_is_told_in_openais_shape_without_the_key(
    api: Api, there: Peer, ann: str, capfd: pytest.CaptureFixture[str]
) -> None:
    there.answers[CHAT] = [Reply(401, pieces=[json.dumps({"error": f"Wrong key: {KEY}"})])]

    async with api.client(ann) as client:
        response = await client.post(CHAT, json=hello(model="there/big"))

    assert response.status_code == 502
    error = response.json()["error"]
    assert error["code"] == "remote_failed"
    assert "`there` refuses the lab's key" in error["message"]
    out, err = capfd.readouterr()
    assert KEY not in response.text + out + err


async def test_the_client_raises_the_same_error(api: Api, there: Peer, ann: str) -> None:
    there.answers[CHAT] = [stream_of(chunk({"content": "Half"}), breaks=True)]

    async with connect(api.url, token=ann) as lab:
        with pytest.raises(RemoteError, match="broke off"):
            await lab.chat("Hello.", model="there/big")


async def test_an_unknown_model_of_a_server_is_unknown_here(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        response = await client.post(CHAT, json=hello(model="there/tiny"))

    assert response.status_code == 404
    assert "there/big" in response.json()["error"]["message"]


async def test_people_keep_profiles_on_them(api: Api, there: Peer, ann: str) -> None:
    there.answers[CHAT] = [said("Arr.", 20, 2)]
    profile = {"id": "pirate", "model": "there/small", "system_prompt": "Talk like a pirate."}

    async with api.client(ann) as client:
        kept = await client.post("/v1/profiles", json=profile)
        answer = await client.post(CHAT, json=hello(model="pirate"))
        cards = {card["id"]: card for card in (await client.get("/v1/models")).json()["data"]}

    assert kept.status_code == 201
    assert answer.json()["choices"][0]["message"]["content"] == "Arr."
    shown = [one.body["messages"][0]["content"] for one in there.requests if one.body]
    assert "Talk like a pirate." in shown[0]
    assert cards["pirate"]["model"] == "there/small"
    assert cards["there/big"]["hub_id"] is None


async def test_metrics_count_what_runs_there(api: Api, there: Peer, ann: str) -> None:
    there.answers[CHAT] = [said("Yes.", 100, 7)]
    before = api.load()
    async with api.client(ann) as client:
        await client.post(CHAT, json=hello(model="there/big"))
        metrics = (await client.get("/metrics")).text
    after = api.load()

    assert 'lab_remote_streams{endpoint="there"} 0.0' in metrics
    assert after.prompt_tokens - before.prompt_tokens >= 100
    assert after.generated_tokens - before.generated_tokens >= 7


def test_what_the_command_shows_of_one(tmp_path: Path) -> None:
    endpoint = {"name": "there", "url": "http://there/v1", "key": KEY}
    environment = {
        "LAB_REMOTES_ENDPOINTS": json.dumps([endpoint]),
        "LAB_DATA_FOLDER": str(tmp_path),
    }
    runner = CliRunner()

    shown = runner.invoke(main, ["models", "show", "there/big"], env=environment)
    explained = runner.invoke(main, ["config", "explain", "remotes.endpoints"], env=environment)

    assert shown.exit_code == 1
    assert "`there/big` is not run by the lab itself" in shown.output + str(shown.exception)
    assert "there" in explained.output
    assert KEY not in explained.output
