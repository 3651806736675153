"""Conversations that go on from an earlier turn or state of others, which stay as they are."""

import asyncio
import os
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.errors import ConflictError, InputError, NotFoundError
from lab.messages import text_of
from lab.runtime import Runtime
from lab.schemas.conversation import Conversation
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind
from lab.schemas.text_part import TextPart
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_call_part import ToolCallPart
from lab.schemas.tool_result_part import ToolResultPart
from lab.schemas.user import User
from tests.api_server import Api
from tests.commands import command
from tests.integration.conftest import execute
from tests.stack import LAB

pytestmark = pytest.mark.integration

SHORT: dict[str, Any] = {"max_new_tokens": 12, "seed": 1}
TOLD = ("My dog is called Zamiko.", "I live in Belora.", "My cat is called Rulo.")
EMBEDDED = """
    SELECT m.position, m.text, m.embedding::text, m.embedding_model, c.embedding::text,
        (SELECT array_agg(t.term || t.n_times || t.n_terms ORDER BY t.term)
         FROM memory_terms t WHERE t.memory_id = m.id AND t.conversation_id = m.conversation_id)
    FROM memories m LEFT JOIN memory_contexts c ON c.memory_id = m.id
    WHERE m.conversation_id = '{}' {} ORDER BY m.position
    """


@pytest.fixture
async def lab(api: Api, ann: str) -> AsyncIterator[Lab]:
    async with connect(api.url, ann) as lab:
        yield lab


async def talk(lab: Lab, *texts: str) -> Conversation:
    """Return a conversation in which each text was said and answered."""
    made = await lab.conversations.create("Pets")
    for text in texts:
        await lab.chat(text, conversation=made.id, **SHORT)
    return await lab.conversations.get(made.id)


def told(messages: list[Message]) -> list[tuple[int, Role, str]]:
    return [(m.position, m.role, text_of(m.parts)) for m in messages]


async def test_a_fork_has_the_turns_until_one_and_their_memories_as_they_are(
    lab: Lab, database_url: str
) -> None:
    source = await talk(lab, *TOLD)
    before = await lab.conversations.messages(source.id)

    fork = await lab.conversations.fork(source.id, before[3].id)

    taken = await lab.conversations.messages(fork.id)
    assert (fork.forked_from, fork.forked_at) == (source.id, before[3].id)
    assert (fork.title, fork.n_messages, fork.shared) == ("Pets (fork)", 4, False)
    assert told(taken) == told(before[:4])
    assert [m.created_at for m in taken] == [m.created_at for m in before[:4]]
    assert {m.id for m in taken} & {m.id for m in before} == set()
    assert {m.run_id for m in taken} == {None}
    copied = await execute(database_url, EMBEDDED.format(fork.id, ""))
    assert copied == await execute(database_url, EMBEDDED.format(source.id, "AND m.position < 4"))
    assert len(copied) == 4
    assert "Rulo" not in str(copied)
    assert await lab.conversations.messages(source.id) == before
    assert await lab.conversations.get(source.id) == source


async def test_a_fork_and_its_source_go_on_apart(lab: Lab) -> None:
    source = await talk(lab, *TOLD[:2])
    first = (await lab.conversations.messages(source.id))[1]
    fork = await lab.conversations.fork(source.id, first.id, title="Elsewhere")

    await lab.chat("My fish is called Tano.", conversation=fork.id, **SHORT)
    of_source = await lab.conversations.messages(source.id)
    await lab.conversations.delete(source.id)
    of_fork = await lab.conversations.messages(fork.id)
    hits = await lab.memories.search("What is my dog called?")

    assert fork.title == "Elsewhere"
    assert [m.position for m in of_source] == [0, 1, 2, 3]
    assert [m.position for m in of_fork] == [0, 1, 2, 3]
    assert text_of(of_fork[2].parts) == "My fish is called Tano."
    assert hits[0].memory.text == TOLD[0]
    assert (await lab.conversations.get(fork.id)).forked_from == source.id


async def test_forgetting_in_a_fork_leaves_its_source_alone(lab: Lab, database_url: str) -> None:
    source = await talk(lab, TOLD[0])
    run = (await lab.runs.list(1, conversation=source.id))[0]
    fork = await lab.conversations.fork(source.id)
    for message in await lab.conversations.messages(fork.id):
        await lab.conversations.delete_message(fork.id, message.id)

    assert (await lab.conversations.get(fork.id)).n_messages == 0
    assert len(await lab.conversations.messages(source.id)) == 2
    assert [e async for e in lab.runs.follow(run.id)] != []
    left = await execute(database_url, "SELECT DISTINCT conversation_id FROM memories")
    assert left == [(source.id,)]


async def test_what_stands_in_the_window_of_a_fork_is_not_recalled_from_its_source(
    lab: Lab,
) -> None:
    source = await talk(lab, *TOLD)
    second = (await lab.conversations.messages(source.id))[3]
    fork = await lab.conversations.fork(source.id, second.id)

    window = await lab.window("What are my pets called?", conversation=fork.id)

    shown = [item for item in window.receipt.items if item.included]
    recent = {item.text for item in shown if item.kind is SourceKind.recent}
    recalled = {item.text for item in shown if item.kind is SourceKind.memory}
    assert {*TOLD[:2]} <= recent
    assert TOLD[2] in recalled
    assert recalled & recent == set()


async def test_a_call_of_tools_brings_its_results(
    lab: Lab, database: Database, owner: User
) -> None:
    source = await lab.conversations.create("Sums")
    call = ToolCallPart(tool_call=ToolCall(id="a", name="add", arguments={}))
    async with database.stores(owner.id) as stores:
        parts: list[tuple[Role, Any]] = [
            (Role.user, TextPart(text="Add.")),
            (Role.assistant, call),
            (Role.tool, ToolResultPart(tool_call_id="a", text="1")),
            (Role.tool, ToolResultPart(tool_call_id="b", text="2")),
            (Role.assistant, TextPart(text="Three.")),
        ]
        stored = [await stores.messages.add(source.id, role, [part]) for role, part in parts]

    forks = [await lab.conversations.fork(source.id, message.id) for message in stored]

    assert [fork.n_messages for fork in forks] == [1, 4, 4, 4, 5]


async def test_a_very_long_conversation_is_forked(lab: Lab, owner: User, database_url: str) -> None:
    source = await lab.conversations.create("Long")
    await execute(
        database_url,
        f"""
        INSERT INTO messages (id, owner_id, conversation_id, position, role, parts)
        SELECT gen_random_uuid(), '{owner.id}', '{source.id}', n, 'user', '[]'
        FROM generate_series(1, 66000) AS n
        """,
    )
    fork = await lab.conversations.fork(source.id)

    assert fork.n_messages == 66000


async def test_states_of_an_older_lab_are_left_out(lab: Lab, database_url: str) -> None:
    source = await talk(lab, TOLD[0])
    state = (await lab.conversations.states(source.id))[0]
    await execute(database_url, "UPDATE checkpoints SET metadata = metadata - 'turn'")

    assert await lab.conversations.states(source.id) == []
    with pytest.raises(NotFoundError, match="state"):
        await lab.conversations.fork(source.id, checkpoint_id=state.checkpoint_id)


async def test_lab_chat_goes_on_in_a_fork(lab: Lab, api: Api, ann: str) -> None:
    source = await talk(lab, TOLD[0])
    process = await asyncio.create_subprocess_exec(
        *(LAB, "chat", "--fork", str(source.id), "-m", "lab-tiny"),
        env=os.environ | {"LAB_API_URL": api.url, "LAB_API_KEY": ann},
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate(TOLD[1].encode())
    (fork,) = [c for c in await lab.conversations.list() if c.forked_from]
    code, refused = await command(api, ann, "chat", "--at", str(source.id))

    assert (process.returncode, fork.forked_from, fork.n_messages) == (0, source.id, 4)
    assert str(fork.id) in errors.decode()
    assert (code, "give --fork, too" in refused) == (1, True)


async def test_what_is_not_there_or_anothers_is_not_forked(lab: Lab, api: Api, bob: str) -> None:
    source, other = await talk(lab, TOLD[0]), await talk(lab, TOLD[1])
    (message, _) = await lab.conversations.messages(source.id)
    (stranger, _) = await lab.conversations.messages(other.id)
    checkpoint = (await lab.conversations.states(source.id))[0].checkpoint_id

    for message_id in (uuid4(), stranger.id):
        with pytest.raises(NotFoundError, match="message"):
            await lab.conversations.fork(source.id, message_id)
    with pytest.raises(NotFoundError, match="state"):
        await lab.conversations.fork(other.id, checkpoint_id=checkpoint)
    with pytest.raises(InputError, match="not both"):
        await lab.conversations.fork(source.id, message.id, checkpoint_id=checkpoint)
    async with connect(api.url, bob) as his:
        with pytest.raises(NotFoundError, match="conversation"):
            await his.conversations.fork(source.id, message.id)
        with pytest.raises(NotFoundError, match="conversation"):
            await his.conversations.states(source.id)
    assert len(await lab.conversations.list()) == 2


async def test_the_states_of_a_conversation_say_what_stood_in_the_window(lab: Lab) -> None:
    source = await talk(lab, *TOLD[:2])
    runs = await lab.runs.list(conversation=source.id)
    messages = await lab.conversations.messages(source.id)

    states = await lab.conversations.states(source.id)
    page = await lab.conversations.states(source.id, 2, before=states[1].checkpoint_id)

    assert page == states[2:4]
    assert [state.run_id for state in states] == [runs[0].id] * 6 + [runs[1].id] * 6
    assert [state.next for state in states[:6]] == [
        [],
        ["record"],
        ["generate"],
        ["assemble"],
        ["remember"],
        ["__start__"],
    ]
    assert [state.n_messages for state in states] == [4, 3, 3, 3, 2, 2, 2, 1, 1, 1, 0, 0]
    assert [state.message_id for state in states[:6:5]] == [messages[3].id, messages[1].id]
    assert all(a.parent_id == b.checkpoint_id for a, b in pairwise(states))
    assert [m.content for m in states[2].window if m.role is Role.user] == list(TOLD[:2])
    assert states[3].window == states[5].window == []


async def test_a_conversation_is_forked_at_a_state(lab: Lab) -> None:
    source = await talk(lab, *TOLD)
    messages = await lab.conversations.messages(source.id)
    states = await lab.conversations.states(source.id)

    for state in states:
        fork = await lab.conversations.fork(source.id, checkpoint_id=state.checkpoint_id)
        taken = await lab.conversations.messages(fork.id) if state.n_messages else []
        assert told(taken) == told(messages[: state.n_messages])
        assert fork.forked_at == state.message_id
    assert await lab.conversations.messages(source.id) == messages


async def test_a_state_that_is_not_kept_any_more_is_said_to_be_so(lab: Lab, api: Api) -> None:
    runtime: Runtime = api.app.state.runtime
    source = await talk(lab, *TOLD)
    states = await lab.conversations.states(source.id)
    await runtime.composer.prune(source.id, 1)
    kept = await lab.conversations.states(source.id)

    assert kept == [*states[:5], states[5].model_copy(update={"parent_id": kept[5].parent_id})]
    with pytest.raises(ConflictError, match="keep_turns"):
        await lab.conversations.fork(source.id, checkpoint_id=states[-1].checkpoint_id)
    newer = UUID(int=states[0].checkpoint_id.int + 1)
    with pytest.raises(NotFoundError, match="state"):
        await lab.conversations.fork(source.id, checkpoint_id=newer)


@pytest.mark.parametrize("way", ["message", "memory", "correct", "chat", "all"])
async def test_no_state_tells_what_was_forgotten(lab: Lab, way: str) -> None:
    source = await talk(lab, TOLD[0])
    other = await talk(lab, "What is my dog called?")
    third = await talk(lab, "Hello.") if way == "memory" else None
    message = (await lab.conversations.messages(source.id))[0]
    (memory,) = [m for m in await lab.memories.list() if m.message_id == message.id]
    ids = (source.id, other.id)
    before = [str(await lab.conversations.states(id)) for id in ids]
    match way:
        case "message":
            await lab.conversations.delete_message(source.id, message.id)
        case "memory":
            await lab.memories.delete(memory.id)
        case "correct":
            await lab.memories.correct(memory.id, "My dog is called Rex.")
        case "chat":
            await lab.memories.delete_all(source.id)
        case _:
            await lab.memories.delete_all()

    assert ["Zamiko" in states for states in before] == [True, True]
    assert [await lab.conversations.states(id) for id in ids] == [[], []]
    assert third is None or "Zamiko" not in str(await lab.conversations.states(third.id))
