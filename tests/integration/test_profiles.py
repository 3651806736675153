"""Profiles: those of the lab from its settings, and those that people make for themselves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner, Result

from lab.cli import main
from lab.client import connect
from lab.config import load_settings
from lab.db import Database
from lab.db.forgetting import forget
from lab.errors import (
    ConfigError,
    ConflictError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    UnknownModelError,
)
from lab.runtime import open_runtime
from lab.schemas.model_profile import ModelProfile
from lab.schemas.scope import Scope
from lab.schemas.user import User
from tests.api_server import Api, hello, key_of, running_api
from tests.tiny_llama import save_tiny_llama

pytestmark = pytest.mark.integration

LABS = [
    {"id": "short", "model": "lab-tiny", "parameters": {"max_new_tokens": 3, "seed": 1}},
    {"id": "narrow", "model": "lab-tiny", "context_length": 64},
]
SILENT = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""A chat template that knows neither tools nor thinking."""

Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture(scope="module")
async def profiles_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API with profiles in its settings, and a model whose chat template knows nothing."""
    folder = tmp_path_factory.mktemp("profiles")
    silent = save_tiny_llama(folder / "silent", 256)
    (silent / "chat_template.jinja").write_text(SILENT)
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_CHAT_MODELS": json.dumps([str(silent)]),
        "LAB_CHAT_PROFILES": json.dumps(LABS),
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(profiles_app: Api, database: Database) -> AsyncIterator[Api]:
    yield profiles_app
    await profiles_app.until_idle()


@pytest.fixture
def command(api: Api, ann: str) -> Command:
    """Run `lab …` as ann."""
    env = {"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "250"}

    async def run(*arguments: str, code: int = 0) -> Result:
        result = await asyncio.to_thread(CliRunner(env=env).invoke, main, arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run


async def test_a_request_names_ones_own_profile_and_gets_what_it_says(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        await lab.profiles.add(
            "brief",
            "lab-tiny",
            system_prompt="Be brief.",
            parameters={"max_new_tokens": 2, "seed": 5},
        )

        answer = await lab.chat("Hello.", model="brief")
        window = await lab.window("Hello.", model="brief")
        run = await lab.runs.get(answer.run_id)

    assert answer.usage.completion_tokens == 2
    assert window.messages[0].content == "Be brief."
    assert (run.profile, run.parameters["seed"]) == ("brief", 5)


async def test_profiles_of_the_settings_are_everybodys(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        listed = await lab.profiles.list()
        answer = await lab.chat("Hello.", model="short")
        narrow = await lab.window("Hello.", model="narrow")
        cards = {card.id: card for card in await lab.models()}

    assert [p.id for p in listed.system] == ["default", "short", "narrow", "lab-tiny", "silent"]
    assert answer.usage.completion_tokens == 3
    assert narrow.receipt.context_length == 64
    assert (cards["narrow"].context_length, cards["narrow"].owned_by) == (64, "lab")


async def test_ones_own_profiles_are_listed_for_nobody_else(api: Api, ann: str, bob: str) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        made = await hers.profiles.add("brief", "lab-tiny", description="Says little.")
        mine = {card.id: card for card in await hers.models()}
        others = {card.id for card in await his.models()}
        with pytest.raises(UnknownModelError, match="Unknown model `brief`"):
            await his.chat("Hello.", model="brief")
        with pytest.raises(NotFoundError):
            await his.profiles.update(made.id, 1, made.profile)

        assert (mine["brief"].owned_by, mine["brief"].description) == ("ann", "Says little.")
        assert "brief" not in others
        assert (await his.profiles.list()).own == []
        # Each may have one of that name.
        assert (await his.profiles.add("brief", "silent")).profile.model == "silent"
        assert (await hers.profiles.get("brief")) == made


async def test_a_change_holds_for_the_next_request_and_names_its_version(
    api: Api, ann: str
) -> None:
    async with connect(api.url, ann) as lab:
        made = await lab.profiles.add("brief", "lab-tiny", parameters={"max_new_tokens": 2})
        assert (await lab.chat("Hello.", model="brief")).usage.completion_tokens == 2

        changed = await lab.profiles.set("brief", parameters={"max_new_tokens": 3})

        assert (changed.id, changed.version) == (made.id, 2)
        assert (await lab.chat("Hello.", model="brief")).usage.completion_tokens == 3
        with pytest.raises(ConflictError, match="at version 2, and this change was made to"):
            await lab.profiles.update(made.id, made.version, made.profile)
        renamed = changed.profile.model_copy(update={"id": "curt"})
        await lab.profiles.update(made.id, 2, renamed)
        with pytest.raises(UnknownModelError):
            await lab.chat("Hello.", model="brief")
        await lab.profiles.remove("curt")
        with pytest.raises(UnknownModelError):
            await lab.chat("Hello.", model="curt")
        assert (await lab.profiles.list()).own == []


@pytest.mark.parametrize(
    ("profile", "error", "said"),
    [
        ({"model": "lab-tinny"}, UnknownModelError, r"`lab-tinny`\. Did you mean `lab-tiny`\?"),
        ({"model": "all-MiniLM-L6-v2"}, InputError, "makes embeddings and cannot chat"),
        ({"workflow": "chatt"}, InputError, r"workflow `chatt`\. Did you mean `chat`\?"),
        ({"context_length": 4096}, InputError, "is 4,096 tokens, and the window .* has 1,024"),
        ({"parameters": {"max_new_tokens": 1024}}, InputError, "is 1,024, and the window has"),
        (
            {"parameters": {"max_new_tokens": 64}, "context_length": 64},
            InputError,
            "`max_new_tokens` is 64, and the window has 64",
        ),
        (
            {"model": "silent", "parameters": {"enable_thinking": True}},
            InputError,
            "chat template of `silent` knows no thinking",
        ),
        ({"id": "lab-tiny"}, ConflictError, "`lab-tiny` is a model or profile of the lab"),
        ({"id": "short"}, ConflictError, "`short` is a model or profile of the lab"),
        ({"id": "all-MiniLM-L6-v2"}, ConflictError, "is a model or profile of the lab"),
        ({"id": " x"}, InputError, "cannot be called ' x'"),
        ({"id": "mine"}, ConflictError, "You have a model profile `mine` already"),
    ],
)
async def test_what_its_model_does_not_suit_is_refused_and_nothing_is_loaded(
    api: Api, ann: str, profile: dict[str, Any], error: type[Exception], said: str
) -> None:
    loaded = api.load().models_loaded
    async with connect(api.url, ann) as lab:
        mine = await lab.profiles.add("mine", "lab-tiny")
        values = {"id": "x", "model": "lab-tiny", **profile}
        name, model = values.pop("id"), values.pop("model")

        with pytest.raises(error, match=said):
            await lab.profiles.add(name, model, **values)

        if name != "mine":  # a change is checked as what is new
            changed = ModelProfile.model_validate({"id": name, "model": model, **values})
            with pytest.raises(error, match=said):
                await lab.profiles.update(mine.id, 1, changed)
        assert (await lab.profiles.list()).own == [mine]
    assert api.load().models_loaded == loaded


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]},
            "knows no tools, and 1 came",
        ),
        ({"enable_thinking": True}, "knows no thinking, and `enable_thinking` was asked for"),
    ],
)
async def test_a_request_for_what_the_template_does_not_know_loads_nothing(
    api: Api, ann: str, asked: dict[str, Any], said: str
) -> None:
    async with api.client(ann) as client:
        answer = await client.post(
            "/v1/chat/completions", json=hello(model="silent") | {"max_tokens": 2, **asked}
        )

    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]
    assert "silent" not in {one.model for one in api.app.state.runtime.pipelines.residency().models}


async def test_a_profile_whose_model_is_gone_says_so_and_is_not_listed(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    async with database.stores(owner.id) as stores:
        await stores.model_profiles.create(ModelProfile(id="old", model="lab-tin"))
        # The lab has a profile of that name since.
        await stores.model_profiles.create(ModelProfile(id="short", model="silent"))

    async with connect(api.url, ann) as lab:
        with pytest.raises(UnknownModelError, match=r"`old` cannot be used: .*`lab-tin`.*lab-tiny"):
            await lab.chat("Hello.", model="old")
        cards = [card.id for card in await lab.models()]
        answer = await lab.chat("Hello.", model="short")

    assert "old" not in cards
    assert cards.count("short") == 1
    assert answer.usage.completion_tokens == 3


async def test_profiles_are_exported_and_forgotten_with_their_owner(
    api: Api, ann: str, database: Database, owner: User, tmp_path: Path, database_url: str
) -> None:
    async with connect(api.url, ann) as lab:
        await lab.profiles.add("quavira", "lab-tiny", system_prompt="You are Quavira.")
        await lab.chat("Hello.", model="quavira", max_new_tokens=2)
        taken = ZipFile(BytesIO(await lab.export()))

    await forget(database, tmp_path, "ann")

    (row,) = map(json.loads, taken.read("model_profiles.jsonl").decode().splitlines())
    assert row["profile"] == {
        "id": "quavira",
        "model": "lab-tiny",
        "system_prompt": "You are Quavira.",
    }
    async with database.stores(owner.id) as stores:
        assert await stores.model_profiles.all() == []


async def test_who_may_only_ask_may_name_profiles_and_not_make_them(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    key = await key_of(database, owner, [Scope.custom_lab_infer])
    async with connect(api.url, ann) as hers, connect(api.url, key) as program:
        await hers.profiles.add("brief", "lab-tiny", parameters={"max_new_tokens": 2})

        assert (await program.chat("Hello.", model="brief")).usage.completion_tokens == 2
        with pytest.raises(PermissionDeniedError, match="custom:lab:memory"):
            await program.profiles.add("other", "lab-tiny")


async def test_the_commands_make_show_change_and_remove(command: Command) -> None:
    await command(
        *("profiles", "add", "pirate", "-m", "lab-tiny", "-s", "You are a pirate."),
        *("-p", "temperature=0.8", "-p", 'stop=["Arr"]', "--description", "Says arr."),
    )
    listed = (await command("profiles", "list")).stdout
    await command("profiles", "set", "pirate", "-p", "temperature=", "-p", "top_k=5", "-s", "")
    shown = json.loads((await command("profiles", "show", "pirate", "--json")).stdout)
    people = (await command("profiles", "show", "default")).stdout
    wrong = await command("profiles", "set", "pirate", "-p", "temprature=1", code=1)
    unknown = await command("profiles", "show", "pirat", code=1)
    nothing = await command("profiles", "set", "pirate", code=1)
    await command("profiles", "remove", "pirate")
    gone = await command("profiles", "remove", "pirate", code=1)

    (line,) = [line for line in listed.splitlines() if line.startswith("pirate")]
    assert line.split() == [
        *("pirate", "you", "lab-tiny", "temperature=0.8", 'stop=["Arr"]', "Says", "arr.")
    ]
    assert shown == {
        "id": "pirate",
        "model": "lab-tiny",
        "description": "Says arr.",
        "system_prompt": None,
        "parameters": {"stop": ["Arr"], "top_k": 5},
    }
    assert "model: lab-tiny" in people
    assert "temprature" in wrong.stderr
    assert "Did you mean `pirate`" in unknown.stderr
    assert "Nothing to change" in nothing.stderr
    assert "Unknown profile of yours `pirate`" in gone.stderr


@pytest.mark.parametrize(
    ("profiles", "said"),
    [
        ([{"id": "x", "model": "lab-tinny"}], "`x`: Unknown model `lab-tinny`. Did you mean"),
        ([{"id": "default", "model": "lab-tiny"}], "`default`, which is the name of another"),
        (
            [{"id": "x", "model": "lab-tiny", "parameters": {"max_new_tokens": 9999}}],
            "`max_new_tokens` is 9,999",
        ),
        ([{"id": "x", "model": "lab-tiny", "workflow": "no"}], "Unknown workflow `no`"),
    ],
)
async def test_a_lab_with_a_wrong_profile_in_its_settings_does_not_start(
    database_url: str, tmp_path: Path, profiles: list[dict[str, Any]], said: str
) -> None:
    environ = {
        "LAB_DATABASE_URL": database_url,
        "LAB_DATA_FOLDER": str(tmp_path),
        "LAB_CHAT_PROFILES": json.dumps(profiles),
    }

    with pytest.raises(ConfigError) as refused:
        async with open_runtime(load_settings(None, environ)):
            pass

    assert said in str(refused.value)


async def test_an_id_that_is_nobodys_is_not_found(api: Api, ann: str) -> None:
    async with api.client(ann) as client:
        answers = [
            await client.get(f"/v1/profiles/{uuid4()}"),
            await client.delete(f"/v1/profiles/{uuid4()}"),
        ]

    assert [answer.status_code for answer in answers] == [404, 404]
