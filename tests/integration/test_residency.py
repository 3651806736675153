"""Models that do not fit together, as people, clients and administrators meet them."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer
from typer.testing import CliRunner

from lab.cli import main
from lab.client import Answer, connect
from lab.config import load_settings
from lab.db import Database
from lab.errors import (
    ConflictError,
    InputError,
    NoRoomError,
    PermissionDeniedError,
    UnknownModelError,
)
from lab.pipelines.catalog import Catalog
from lab.pipelines.load import foretell_embedding
from lab.pipelines.memory import memory_needs
from lab.schemas.chat_config import Quantization
from lab.schemas.decision import Decision
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import USER_SCOPES, Api, hello, key_of, running_api
from tests.tiny_diffusers import save_tiny_stable_diffusion
from tests.tiny_llama import UNGUARDED, save_tiny_llama

pytestmark = pytest.mark.integration

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
async def shared_api_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API with two chat models and one that draws: one at a time fits beside the embedder."""
    folder = tmp_path_factory.mktemp("shared")
    first, second = (save_tiny_llama(folder / name, 1024) for name in ("first", "second"))
    config = load_settings(None, {}).config
    encoder = Catalog(config.chat, config.embedding).embedding
    embedding = foretell_embedding(encoder, config.embedding)
    needs = memory_needs(AutoConfig.from_pretrained(first), torch.float32, n_tokens=1024)
    together = embedding.needs[Quantization.none].total + 1.5 * needs[Quantization.none].total
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_CHAT_MODEL": str(first),
        "LAB_CHAT_MODELS": json.dumps([str(second)]),
        "LAB_RESIDENCY_MEMORY_GB": str(together / 1e9),
        "LAB_CHAT_MAX_STREAMS": "8",
        "LAB_RESIDENCY_LEASE_SHARE": "0.9",
        "LAB_IMAGE_MODEL": str(save_tiny_stable_diffusion(folder / "draws")),
        "LAB_IMAGE_STEPS": "2",
        "LAB_IMAGE_MAX_PIXELS": str(64 * 64),
        **UNGUARDED,
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(shared_api_app: Api, database: Database) -> AsyncIterator[Api]:
    yield shared_api_app
    await shared_api_app.until_idle()


@pytest.fixture
async def admin(database: Database, owner: User) -> str:
    return await key_of(database, owner, [*USER_SCOPES, Scope.custom_lab_admin])


async def test_eight_clients_use_two_models_in_turn(api: Api, admin: str) -> None:
    async def client(i: int) -> list[str]:
        async with api.client(admin) as http:
            answers = []
            for turn in range(6):
                name = ("first", "second")[(i + turn) % 2]
                body = hello(model=name, stream=True, max_tokens=24)
                response = await http.post(CHAT, json=body)
                assert response.status_code == 200
                lines = [one for one in response.text.splitlines() if one]
                assert lines[-1] == "data: [DONE]"
                chunks = [json.loads(one.removeprefix("data: ")) for one in lines[:-1]]
                assert chunks[-1]["choices"][0]["finish_reason"] == "length"
                answers.append(
                    name + "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
                )
            return answers

    answers = await asyncio.gather(*(client(i) for i in range(8)))

    assert len(Counter(text for one in answers for text in one)) == 2  # each model's own
    async with connect(api.url, admin) as lab:
        report = await lab.residents.report()
    (device,) = report.devices
    evictions = [one for one in report.decisions if one.kind is DecisionKind.evicted]
    assert device.taken_bytes <= (device.budget_bytes or 0)
    assert evictions
    assert all("go to `" in one.reason and "which needs" in one.reason for one in evictions)
    assert len([one for one in report.models if one.model in {"first", "second"}]) == 1


QUICK: dict[str, Any] = {"max_new_tokens": 128, "temperature": 0}


async def loaded_by(api: Api, key: str, message: str, **options: Any) -> tuple[Answer, list[str]]:
    """Return what is answered without anybody waiting in vain, and which models came for it."""
    async with connect(api.url, key) as lab:
        options.setdefault("store", "conversation" in options)
        before = len((await lab.residents.report()).decisions)
        async with asyncio.timeout(60):
            answer = await lab.chat(message, **QUICK, **options)
        report = await lab.residents.report()
    new = report.decisions[: len(report.decisions) - before]
    assert DecisionKind.refused not in {one.kind for one in new}
    return answer, [one.model for one in reversed(new) if one.kind is DecisionKind.loaded]


@pytest.mark.parametrize("mode", ["series", "parallel"])
async def test_a_team_answers_whose_models_do_not_fit_together(
    api: Api, ann: str, mode: str
) -> None:
    async with connect(api.url, ann) as lab:
        for name in ("first", "second"):
            await lab.profiles.add(f"with-{name}", name)
        team = {"mode": mode, "members": ["with-first", "with-second"]}
        await lab.profiles.add("both", "first", team=team)

    answer, loads = await loaded_by(api, ann, "Hi.", model="both")

    assert "could not answer" not in answer.thinking
    assert answer.text
    assert "second" in loads
    assert loads[-1] == "first"


async def test_a_tool_makes_its_picture_where_the_chat_model_had_to_leave(
    api: Api, ann: str
) -> None:
    answer, loads = await loaded_by(
        api, ann, "Draw.", **calling_at_once(api, "make_picture"), memory=True
    )

    assert [one.call.name for one in answer.tool_uses] == ["make_picture"]
    assert len(answer.images) == 1
    assert loads[-2:] == ["draws", "first"]


async def test_a_model_that_need_not_leave_for_a_tool_reads_its_prompt_once(
    api: Api, ann: str
) -> None:
    await loaded_by(api, ann, "Hi.", model="first")
    answer, loads = await loaded_by(api, ann, "How much?", **calling_at_once(api, "calculator"))

    assert [one.call.name for one in answer.tool_uses] == ["calculator"]
    assert loads == []
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens > 100


def calling_at_once(api: Api, tool: str) -> dict[str, Any]:
    """Return the options by which a random model calls a tool, and comes to an end with it."""
    folder = api.app.state.runtime.pipelines.known("first").source
    tokenizer = AutoTokenizer.from_pretrained(folder)
    likes = {'"': 100.0, "\t": -100.0, "\n": -100.0, " ": -100.0}
    ids = {text: tokenizer.encode(text, add_special_tokens=False)[0] for text in likes}
    return {
        "model": "first",
        "settings": {"tools": {"enabled": [tool]}},
        "tool_choice": {"mode": "required"},
        "logit_bias": {str(ids[text]): bias for text, bias in likes.items()},
    }


async def test_another_model_tells_the_intent_where_both_do_not_fit(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        chat = await lab.conversations.create("Named")
    answer, loads = await loaded_by(
        api,
        ann,
        "Hi.",
        model="first",
        conversation=chat.id,
        settings={"workflow": {"route": True}, "roles": {"analysis": "second"}},
    )

    assert answer.route is not None
    assert "Its intent cannot be told" in answer.route.reason  # by a random model, which was asked
    assert loads[-2:] == ["second", "first"]


async def test_three_people_use_one_copy(api: Api, ann: str, bob: str, admin: str) -> None:
    """Each by the client of the notebooks, at the same time."""

    async def used(*keys: str) -> tuple[int, int]:
        async with AsyncExitStack() as stack:
            labs = [await stack.enter_async_context(connect(api.url, key)) for key in keys]
            await asyncio.gather(
                *(lab.chat("Hi.", model="first", max_new_tokens=4) for lab in labs)
            )
            report = await labs[0].residents.report()
        first = next(one for one in report.models if one.model == "first")
        return first.weight_bytes or 0, first.used_bytes

    by_one = await used(ann)
    loads = [one for one in await decisions(api, admin) if one.kind is DecisionKind.loaded]
    by_three = await used(ann, bob, admin)
    more = [one for one in await decisions(api, admin) if one.kind is DecisionKind.loaded]

    assert len(more) == len(loads)
    assert by_three[0] == by_one[0] > 0  # only their keys and values came to it
    assert by_one[0] < by_one[1] <= by_three[1]


async def decisions(api: Api, key: str) -> list[Decision]:
    async with connect(api.url, key) as lab:
        return (await lab.residents.report()).decisions


async def test_everybody_sees_the_account_and_only_ones_own_name_in_it(
    api: Api, ann: str, bob: str, admin: str, owner: User
) -> None:
    async with (
        connect(api.url, ann) as hers,
        connect(api.url, bob) as his,
        connect(api.url, admin) as theirs,
    ):
        events = hers.stream("Hello.", model="first", max_new_tokens=400)
        await anext(events)
        reports = [await lab.residents.report() for lab in (hers, his, theirs)]
        with pytest.raises(ConflictError, match="`first` is resident and has 1 leases"):
            await theirs.residents.unload("first")
        await events.aclose()

    leases = [one.leases for report in reports for one in report.models if one.model == "first"]
    assert [[lease.purpose for lease in one] for one in leases] == [["answer"]] * 3
    assert [one[0].owner_id for one in leases] == [owner.id, None, owner.id]


async def test_administrators_bring_pin_and_take_out(api: Api, ann: str, admin: str) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, admin) as lab:
        for change in (
            hers.residents.load("first"),
            hers.residents.unload("first"),
            hers.residents.share("first", pinned=True),
        ):
            with pytest.raises(PermissionDeniedError):
                await change
        await api.until_idle()
        await lab.residents.load("first")
        pinned = await lab.residents.share("first", pinned=True, priority=3)
        refused = await hers_refusal(api, ann)
        await lab.residents.share("first", pinned=False)
        await lab.residents.load("second")
        await lab.residents.unload("second")
        left = await lab.residents.report()
        with pytest.raises(UnknownModelError, match="first"):
            await lab.residents.load("frist")

    (first,) = [one for one in pinned.models if one.model == "first"]
    assert (first.pinned, first.priority) == (True, 3)
    assert "`second` does not fit" in refused
    assert "besides" in refused
    assert not {"first", "second"} & {one.model for one in left.models}


async def hers_refusal(api: Api, key: str) -> str:
    async with api.client(key) as client:
        response = await client.post(CHAT, json=hello(model="second"))
    assert response.status_code == 503
    error = response.json()["error"]
    assert error["code"] == "no_room"
    return str(error["message"])


async def test_a_program_has_memory_for_its_own_use(
    api: Api, ann: str, bob: str, owner: User
) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        await hers.chat("Hi.", model="first", max_new_tokens=4)
        report = await hers.residents.report()
        size = next(one.taken_bytes for one in report.models if one.model == "first")
        async with hers.lease(gb=size / 1e9, purpose="training") as memory:
            waiting = asyncio.create_task(hers.chat("Hi.", model="first", max_new_tokens=4))
            await asyncio.sleep(0.5)
            assert not waiting.done()  # no model is loaded into it
            seen = await his.residents.report()
        assert (await waiting).text
        left = await hers.residents.report()

    (lease,) = [one for one in seen.models if one.model == memory.name]
    assert (lease.taken_bytes, lease.device) == (memory.n_bytes, "cpu")
    assert [(one.purpose, one.owner_id) for one in lease.leases] == [("training", None)]
    assert "first" not in {one.model for one in seen.models}
    evicted = [one for one in seen.decisions if one.kind is DecisionKind.evicted]
    assert f"go to `{memory.name}`" in evicted[0].reason
    assert memory.name not in {one.model for one in left.models}


async def test_a_lease_ends_with_the_program_that_has_it(api: Api, ann: str) -> None:
    program = (
        "import asyncio, lab\n"
        "async def main():\n"
        "    async with lab.connect() as client, client.lease(gb=0.0001, purpose='forgotten'):\n"
        "        print('held', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    wiring = {"LAB_API_URL": api.url, "LAB_API_KEY": ann, "PATH": os.defpath}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=wiring, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"held\n"
    assert await purposes(api, ann) == ["forgotten"]
    process.kill()
    await process.wait()
    async with asyncio.timeout(15):
        while await purposes(api, ann):
            await asyncio.sleep(0.1)


async def purposes(api: Api, key: str) -> list[str]:
    async with connect(api.url, key) as lab:
        models = (await lab.residents.report()).models
    return [lease.purpose for one in models for lease in one.leases]


async def test_what_cannot_be_leased_is_refused(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        for refusal, wish in (
            (r"LAB_RESIDENCY_LEASE_SHARE=0\.9.*5\.0 GB\. Ask for less", {"gb": 5}),
            ("`tpu:9` is no device", {"gb": 1, "device": "tpu:9"}),
            ("`cuda` is no device", {"gb": 1, "device": "cuda"}),
            ("gb", {"gb": -1}),
        ):
            with pytest.raises((NoRoomError, InputError), match=refusal):
                async with lab.lease(**wish):
                    pass
        with pytest.raises(KeyError, match="of the block"):
            async with lab.lease(gb=0.0001):
                raise KeyError("of the block")


async def test_metrics_tell_the_memory(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        await client.post(CHAT, json=hello(model="first"))
        text = (await client.get("/metrics")).text

    assert 'lab_device_bytes{device="cpu",kind="taken"}' in text
    assert 'lab_model_bytes{device="cpu",model="first"}' in text
    assert "lab_model_evictions_total" in text


async def test_lab_gpu_shows_the_account(
    api: Api, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_API_URL", api.url)
    monkeypatch.setenv("LAB_API_KEY", admin)
    runner = CliRunner()

    def run(*arguments: str) -> str:
        result = runner.invoke(main, [*arguments])
        assert result.exit_code == 0, result.output
        return result.output

    loaded = await asyncio.to_thread(run, "models", "load", "second")
    shared = await asyncio.to_thread(run, "models", "share", "second", "--priority", "7")
    shown = await asyncio.to_thread(run, "gpu")
    told = json.loads(await asyncio.to_thread(run, "gpu", "--json"))
    unloaded = await asyncio.to_thread(run, "models", "unload", "second")

    assert "`second` is in memory" in loaded
    assert "`second` shares the memory as asked for" in shared
    assert "no, for" in shown
    assert "The last decisions, newest first:" in shown
    assert [one["priority"] for one in told["models"] if one["model"] == "second"] == [7]
    assert "`second` is not in memory" in unloaded
