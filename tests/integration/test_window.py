"""What a model would see: the window of a turn that nobody asks, by the code of those that are."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.errors import (
    ContextLengthError,
    InputError,
    LockedKeyError,
    NotFoundError,
    PermissionDeniedError,
    UnknownKeyError,
)
from lab.evals.talks import hold, write_talk
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.schemas.said_message import SaidMessage
from lab.schemas.scope import Scope
from lab.schemas.source_kind import SourceKind
from lab.schemas.user import User
from lab.schemas.window import Window
from tests.api_server import Api, key_of, running_api
from tests.stack import LAB

pytestmark = pytest.mark.integration

FACT = "My dog is called Zamiko."
QUESTION = "What is my dog called?"


@pytest.fixture
async def lab(api: Api, ann: str) -> AsyncIterator[Lab]:
    async with connect(api.url, ann) as lab:
        yield lab


@pytest.fixture
async def conversation(lab: Lab) -> UUID:
    """A fact, and then more other talk than a window holds."""
    conversation = await lab.conversations.create("Long ago")
    await lab.conversations.add(conversation.id, [ChatMessage(role=Role.user, content=FACT)])
    await hold(lab, conversation.id, write_talk(n_facts=0, n_turns=70, seed=1).messages)
    await lab.conversations.summarise(conversation.id)  # or a window differs from the next one
    return conversation.id


def memories(window: Window) -> list[str]:
    return [i.text for i in window.receipt.items if i.kind is SourceKind.memory and i.included]


async def test_it_is_the_window_of_the_answer_and_leaves_nothing_behind(
    lab: Lab, conversation: UUID, database_url: str
) -> None:
    before = await lab.conversations.messages(conversation)

    window = await lab.window(QUESTION, conversation=conversation, max_new_tokens=8)

    assert await lab.conversations.messages(conversation) == before
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        runs = await connection.execute("SELECT FROM runs")
        assert runs.rowcount == 0
    answer = await lab.chat(QUESTION, conversation=conversation, max_new_tokens=8, store=False)
    assert window.receipt == answer.receipt.model_copy(update={"run_id": None})
    assert FACT in memories(window)
    assert window.receipt.n_tokens == answer.usage.prompt_tokens
    assert FACT in (window.messages[0].content or "")
    assert window.messages[-1] == ChatMessage(role=Role.user, content=QUESTION)


async def test_a_window_of_another_size_holds_more_or_less(lab: Lab, conversation: UUID) -> None:
    windows = {
        size: await lab.window(QUESTION, conversation=conversation, context_length=size)
        for size in (512, None, 4096)
    }

    lengths = [window.receipt.context_length for window in windows.values()]
    tokens = [window.receipt.n_tokens for window in windows.values()]
    assert lengths == [512, 1024, 4096]
    assert tokens == sorted(tokens)
    assert tokens[-1] > 1024
    assert all(n <= size for n, size in zip(tokens, lengths, strict=True))
    assert all(FACT in memories(window) for window in list(windows.values())[:2])
    recent = [i.text for i in windows[4096].receipt.items if i.included]
    assert FACT in recent


async def test_settings_are_tried_for_one_window_alone(lab: Lab, conversation: UUID) -> None:
    tried = await lab.window(QUESTION, conversation=conversation, settings={"memory": {"top_k": 1}})
    usual = await lab.window(QUESTION, conversation=conversation)

    assert memories(tried) == [FACT]
    assert len(memories(usual)) > 1


async def test_an_answer_is_given_under_settings_of_its_own(lab: Lab, conversation: UUID) -> None:
    answer = await lab.chat(
        QUESTION, conversation=conversation, store=False, settings={"memory": {"top_k": 1}}
    )

    shown = [i.text for i in answer.receipt.items if i.included and i.kind is SourceKind.memory]
    assert shown == [FACT]
    with pytest.raises(UnknownKeyError):
        await lab.chat(QUESTION, settings={"hub": {"admin": "me"}})


async def test_what_was_said_around_a_turn_can_be_left_out(lab: Lab) -> None:
    talk = await lab.conversations.create()
    reply = "Toledo, since May."
    said = ["Where is your boat these days?", reply]
    said += [f"I said so on day {n}, where it rained." for n in range(90)]
    await lab.conversations.add(
        talk.id, [ChatMessage(role=Role.user, content=text) for text in said]
    )
    await lab.conversations.summarise(talk.id)

    alone = {"memory": {"neighbours": False, "top_k": 2}}
    together = {"memory": {"top_k": 2}}
    asked = "Where did I say is my boat?"

    assert reply in memories(await lab.window(asked, conversation=talk.id, settings=together))
    assert reply not in memories(await lab.window(asked, conversation=talk.id, settings=alone))


async def test_what_cannot_be_is_refused_with_the_reason(lab: Lab, conversation: UUID) -> None:
    with pytest.raises(ContextLengthError):
        await lab.window("Who am I? " * 50, context_length=20)
    with pytest.raises(UnknownKeyError, match=r"memory\.top_n"):
        await lab.window(QUESTION, settings={"memory": {"top_n": 1}})
    with pytest.raises(UnknownKeyError):
        await lab.window(QUESTION, settings={"database": {"url": "postgresql://elsewhere"}})
    with pytest.raises(InputError, match="context_length"):
        await lab.window(QUESTION, context_length=0)
    with pytest.raises(NotFoundError):
        await lab.window(QUESTION, conversation=uuid4())


async def test_the_talk_of_others_and_what_is_locked_stay_closed(
    api: Api, bob: str, conversation: UUID, database_url: str, ann: str, tmp_path: Path
) -> None:
    async with connect(api.url, bob) as his:
        with pytest.raises(NotFoundError):
            await his.window(QUESTION, conversation=conversation)
        assert memories(await his.window(QUESTION, memory=True)) == []
    async with (
        running_api(
            database_url, LAB_DATA_FOLDER=str(tmp_path / "data"), LAB_LIMITS_LOCKED="memory.top_k"
        ) as locked,
        connect(locked.url, ann) as hers,
    ):
        with pytest.raises(LockedKeyError, match=r"memory\.top_k"):
            await hers.window(QUESTION, settings={"memory": {"top_k": 100}})


async def test_memories_are_shown_to_those_alone_who_may_read_them(
    api: Api, database: Database, owner: User
) -> None:
    key = await key_of(database, owner, [Scope.custom_lab_infer])
    async with connect(api.url, key) as lab:
        assert (await lab.window(QUESTION)).receipt.n_tokens > 0
        with pytest.raises(PermissionDeniedError):
            await lab.window(QUESTION, memory=True)


async def test_what_was_said_elsewhere_keeps_its_date(lab: Lab) -> None:
    conversation = await lab.conversations.create("Imported")
    at = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    said = SaidMessage(role=Role.user, name="Eve", content="I sold the boat.", said_at=at)

    (message,) = await lab.conversations.add(conversation.id, [said])
    window = await lab.window("Which boat did Eve sell?", memory=True)

    assert (message.name, message.created_at) == ("Eve", at)
    assert "- 2023-05-08 Eve: I sold the boat." in (window.messages[0].content or "")


async def test_the_command_line_shows_every_piece_and_the_account(
    api: Api, ann: str, lab: Lab, conversation: UUID
) -> None:
    async def run(*arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(LAB, "window", *arguments, QUESTION),
            env={"LAB_API_URL": api.url, "LAB_API_KEY": ann, "COLUMNS": "250"},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0
        return out.decode()

    shown = (await run("--tokens", "600")).splitlines()
    in_it = Window.model_validate_json(await run("--conversation", str(conversation), "--json"))

    assert any(row.startswith("yes") and FACT in row and "bears on" in row for row in shown)
    assert any(row.startswith("no") for row in shown)
    assert "of 600 tokens of lab-tiny's window" in shown[-1]
    assert in_it == await lab.window(QUESTION, conversation=conversation)


@pytest.mark.parametrize("year", [1, 9999])
async def test_a_date_that_no_calendar_of_ours_has_room_for_is_refused(lab: Lab, year: int) -> None:
    conversation = await lab.conversations.create("Imported")
    said = SaidMessage(role=Role.user, content="Hi.", said_at=datetime(year, 1, 1, tzinfo=UTC))

    with pytest.raises(InputError, match="expected a date from the year 1000 to 8999"):
        await lab.conversations.add(conversation.id, [said])
    assert await lab.conversations.messages(conversation.id) == []
