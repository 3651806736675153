"""Roles: which profile answers, summarises, and titles and writes down facts."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from lab.cli import main
from lab.client import Lab, connect
from lab.db import Database
from lab.errors import InputError, UnknownKeyError, UnknownModelError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.conversation import Conversation
from lab.schemas.role import Role
from lab.schemas.user import User
from tests.api_server import Api, running_api
from tests.tiny_llama import save_tiny_llama

pytestmark = pytest.mark.integration

BRIEF = {"parameters": {"max_new_tokens": 2, "seed": 1}}
TALK = [
    ChatMessage(role=Role.user, content=text)
    for text in ("My dog is called Zamiko.", "It rains.", "My cat is called Orvelo.", "It is dry.")
]


@pytest.fixture(scope="module")
async def roles_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API with a second chat model, whose summaries are due after four messages."""
    folder = tmp_path_factory.mktemp("roles")
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_CHAT_MODELS": json.dumps([str(save_tiny_llama(folder / "second", 4096))]),
        "LAB_SUMMARIES_MESSAGES": "4",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(roles_app: Api, database: Database) -> AsyncIterator[Api]:
    yield roles_app
    await roles_app.until_idle()


async def test_the_primary_profile_answers_who_names_none(api: Api, ann: str, bob: str) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        await hers.profiles.add("brief", "lab-tiny", **BRIEF)
        await hers.use("brief")

        answer = await hers.chat("Hello.")
        run, other = (
            await hers.runs.get(answer.run_id),
            await his.runs.get((await his.chat("Hello.")).run_id),
        )
        await hers.config.reset("roles.primary")
        after = await hers.runs.get((await hers.chat("Hello.")).run_id)

    assert (run.profile, answer.usage.completion_tokens) == ("brief", 2)
    assert (other.profile, after.profile) == ("default", "default")


async def summarised(lab: Lab) -> Conversation:
    chat = await lab.conversations.create("told")
    await lab.conversations.add(chat.id, TALK)
    await lab.conversations.summarise(chat.id)
    return chat


async def models_used(database: Database, owner: User) -> dict[str, int]:
    """Return how often each model answered for a user."""
    async with database.stores(owner.id) as stores:
        days = await stores.usage.days(owner.name, datetime.now(UTC) - timedelta(days=1))
    return {day.model: day.n_generations for day in days}


async def test_summaries_and_facts_are_written_by_whom_they_were_given_to(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    async with connect(api.url, ann) as lab:
        await lab.use("second", role="summary")

        chat = await summarised(lab)
        (one,) = await lab.conversations.summaries(chat.id)

        # The facts are of a demonstration model, which wrote them down as the summary already.
        assert one.model == "second"
        before = await models_used(database, owner)
        assert before.keys() == {"second"}

        await lab.config.reset("roles.summary")
        await lab.use("second", role="analysis")
        chat = await summarised(lab)
        (one,) = await lab.conversations.summaries(chat.id)

    assert one.model == "lab-tiny"
    after = await models_used(database, owner)
    assert after["lab-tiny"] > 0
    assert after["second"] > before["second"]  # the facts of the second chat


async def test_titles_are_written_by_whom_the_analysis_was_given_to(
    api: Api, ann: str, database: Database, owner: User
) -> None:
    async with connect(api.url, ann) as lab:
        await lab.use("second", role="analysis")
        chat = await lab.conversations.create()
        await lab.chat("My dog is called Zamiko.", conversation=chat.id, max_new_tokens=8)
        async with asyncio.timeout(20):
            while (await models_used(database, owner)).keys() != {"lab-tiny", "second"}:
                await asyncio.sleep(0.05)


async def test_a_role_for_what_cannot_chat_or_is_not_there_is_refused(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(UnknownModelError, match="Did you mean `second`"):
            await lab.use("secnd")
        with pytest.raises(InputError, match="every role is for a model that chats"):
            await lab.use("all-MiniLM-L6-v2")
        with pytest.raises(UnknownKeyError, match=r"Did you mean `roles\.summary`"):
            await lab.use("second", role="sumary")
        await lab.config.set("roles.primary", "gone")

        with pytest.raises(UnknownModelError, match=r"`roles\.primary` cannot answer.*models use"):
            await lab.chat("Hello.")
        # Who names one is answered.
        await lab.chat("Hello.", model="lab-tiny", max_new_tokens=2)


async def test_the_command_chooses_shows_and_gives_up_roles(api: Api, ann: str) -> None:
    env = {"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "250"}

    async def run(*arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner(env=env).invoke, main, arguments)
        assert result.exit_code == code, result.output
        return result.output

    await run("models", "use", "second")
    shown = await run("models", "use")
    unset = await run("models", "use", "--unset")
    unknown = await run("models", "use", "secnd", code=1)
    both = await run("models", "use", "second", "--unset", code=1)

    (line,) = [line for line in shown.splitlines() if line.startswith("primary")]
    assert line.split()[:3] == ["primary", "second", "user"]
    assert "unset" in unset
    assert "Did you mean `second`" in unknown
    assert "either `second` or --unset" in both
