"""Conversations that people share: found by others' questions, and closed to them all the same."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import psycopg
import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.db.forgetting import forget
from lab.errors import NotFoundError, PermissionDeniedError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.memory import Memory
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind
from lab.schemas.user import User
from lab.schemas.window import Window
from tests.api_server import Api, running_api
from tests.stack import LAB

pytestmark = pytest.mark.integration

TALK = ("The telescope is kept in the Brandell shed.", "Its key hangs behind the clock.")
QUESTION = "Where is the telescope kept?"
SHARED = {"memory": {"scope": "shared"}}


@pytest.fixture(scope="module")
async def open_api(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """A lab whose operator lets people share."""
    folder = tmp_path_factory.mktemp("open")
    variables = {"LAB_DATA_FOLDER": str(folder), "LAB_LIMITS_SHARING": "true"}
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def hers(open_api: Api, ann: str) -> AsyncIterator[Lab]:
    async with connect(open_api.url, ann) as lab:
        yield lab


@pytest.fixture
async def his(open_api: Api, bob: str) -> AsyncIterator[Lab]:
    async with connect(open_api.url, bob) as lab:
        yield lab


async def told(lab: Lab, *texts: str) -> UUID:
    chat = await lab.conversations.create("told")
    said = [ChatMessage(role=Role.user, content=text) for text in texts]
    await lab.conversations.add(chat.id, said)
    return chat.id


async def asked(lab: Lab, question: str = QUESTION, **memory: Any) -> Window:
    settings = {"memory": SHARED["memory"] | memory}
    return await lab.window(question, memory=True, settings=settings)


def found(window: Window) -> list[ReceiptItem]:
    return [i for i in window.receipt.items if i.kind is SourceKind.memory]


def texts(window: Window) -> list[str]:
    return [item.text for item in found(window)]


async def test_sharing_is_refused_until_the_operator_allows_it(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        chat = await told(lab, *TALK)

        with pytest.raises(PermissionDeniedError, match="LAB_LIMITS_SHARING"):
            await lab.conversations.share(chat)

        assert not (await lab.conversations.get(chat)).shared
        assert not (await lab.conversations.unshare(chat)).shared
        async with api.client(ann) as client:
            opened = await client.patch("/v1/config", json={"limits": {"sharing": True}})
        assert opened.status_code == 400


async def test_what_one_shares_others_find_if_they_ask_for_it(hers: Lab, his: Lab) -> None:
    chat = await told(hers, *TALK)
    private = await told(hers, "The telescope cost a fortune.")
    before = texts(await asked(his))

    shared = await hers.conversations.share(chat)

    window = await asked(his)
    assert (shared.shared, before) == (True, [])
    assert not (await hers.conversations.get(private)).shared
    assert texts(window) == list(TALK)
    assert {item.shared_by for item in found(window)} == {"ann"}
    assert f"ann (user): {TALK[0]}" in (window.messages[0].content or "")
    for scope in ("all", "conversation"):
        assert texts(await asked(his, scope=scope)) == []
    mine = await asked(hers)
    assert TALK[0] in texts(mine)
    assert {item.shared_by for item in found(mine)} == {None}


async def test_a_chat_under_that_setting_answers_from_what_is_shared(
    hers: Lab, his: Lab, open_api: Api, bob: str
) -> None:
    await hers.conversations.share(await told(hers, *TALK))
    async with open_api.client(bob) as client:
        assert (await client.patch("/v1/config", json=SHARED)).status_code == 200
    chat = await his.conversations.create("his")

    answer = await his.chat(QUESTION, conversation=chat.id, max_new_tokens=4)

    shown = [i for i in answer.receipt.items if i.shared_by]
    assert [(i.text, i.shared_by) for i in shown] == [(text, "ann") for text in TALK]
    searched = await his.memories.search(QUESTION)
    assert {hit.memory.conversation_id for hit in searched} == {chat.id}


async def test_what_is_shared_stays_closed(hers: Lab, his: Lab, open_api: Api, bob: str) -> None:
    chat = await told(hers, *TALK)
    await hers.conversations.share(chat)
    memories = await hers.memories.list()
    ids = {item.source_id for item in found(await asked(his))} - {None}
    memory_ids = [memory.id for memory in memories]

    async with open_api.client(bob) as client:
        statuses = set()
        for id in (*ids, *memory_ids, chat):
            for path in (
                f"/v1/conversations/{chat}",
                f"/v1/conversations/{id}",
                f"/v1/conversations/{chat}/messages",
                f"/v1/conversations/{chat}/messages/{id}",
                f"/v1/conversations/{chat}/summaries",
                f"/v1/memories/{id}",
                f"/v1/documents/{id}",
                f"/v1/runs/{id}",
            ):
                statuses.add((await client.get(path)).status_code)
                statuses.add((await client.delete(path)).status_code)
        for method, path, body in (
            ("PATCH", f"/v1/conversations/{chat}", {"shared": False}),
            ("PATCH", f"/v1/memories/{memory_ids[0]}", {"text": "Mine."}),
            (
                "POST",
                f"/v1/conversations/{chat}/messages",
                {"messages": [{"role": "user", "content": "Mine."}]},
            ),
            ("DELETE", f"/v1/memories?conversation_id={chat}", None),
        ):
            statuses.add((await client.request(method, path, json=body)).status_code)
        export = ZipFile(BytesIO((await client.get("/v1/me/export")).content))
    assert statuses == {404, 405}
    assert await his.conversations.list() == []
    assert await his.memories.list() == []
    assert await his.memories.search(QUESTION) == []
    assert all(TALK[0] not in export.read(name).decode() for name in export.namelist())
    assert await hers.memories.list() == memories
    assert (await hers.conversations.get(chat)).shared


@pytest.mark.parametrize("end", ["unshare", "chat", "message", "memory", "memories", "correct"])
async def test_what_is_taken_back_is_gone_at_once(hers: Lab, his: Lab, end: str) -> None:
    chat = await told(hers, *TALK)
    await hers.conversations.share(chat)
    memory: Memory = next(m for m in await hers.memories.list() if m.text == TALK[0])
    assert TALK[0] in texts(await asked(his))

    match end:
        case "unshare":
            await hers.conversations.unshare(chat)
        case "chat":
            await hers.conversations.delete(chat)
        case "message":
            await hers.conversations.delete_message(chat, memory.message_id)
        case "memory":
            await hers.memories.delete(memory.id)
        case "memories":
            await hers.memories.delete_all(chat)
        case "correct":
            await hers.memories.correct(memory.id, "The telescope was sold.")

    left = texts(await asked(his))
    expected = {
        "message": {TALK[1]},
        "memory": {TALK[1]},
        "correct": {TALK[1], "The telescope was sold."},
    }
    assert set(left) == expected.get(end, set())


async def test_an_operator_who_opts_out_ends_all_sharing(
    hers: Lab, api: Api, ann: str, bob: str
) -> None:
    chat = await told(hers, *TALK)
    await hers.conversations.share(chat)

    async with connect(api.url, bob) as his, connect(api.url, ann) as still_hers:
        assert texts(await asked(his)) == []
        assert not (await still_hers.conversations.unshare(chat)).shared


async def test_who_is_switched_off_shares_nothing(hers: Lab, his: Lab, database: Database) -> None:
    await hers.conversations.share(await told(hers, *TALK))
    async with database.accounts() as accounts:
        await accounts.update("ann", is_active=False)

    assert texts(await asked(his)) == []


async def test_forgetting_somebody_reaches_what_others_were_shown(
    hers: Lab,
    his: Lab,
    database: Database,
    other_owner: User,
    database_url: str,
    tmp_path: Path,
) -> None:
    await hers.conversations.share(await told(hers, *TALK))
    own = await told(his, "The telescope is heavy.")
    answer = await his.chat(QUESTION, conversation=own, max_new_tokens=4, settings=SHARED)
    assert TALK[0] in [item.text for item in answer.receipt.items]

    await forget(database, tmp_path, "ann")

    assert {item.shared_by for item in found(await asked(his))} == {None}
    async with database.stores(other_owner.id) as stores:
        receipt = (await stores.runs.get(answer.run_id)).receipt
    assert receipt is not None
    assert [i.n_tokens for i in receipt.items] == [i.n_tokens for i in answer.receipt.items]
    assert sum(i.reason == "forgotten with the person who said it" for i in receipt.items) == 2
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        for table in (
            "runs",
            "events",
            "checkpoints",
            "checkpoint_blobs",
            "checkpoint_writes",
            "messages",
        ):
            rows = await connection.execute(f"SELECT t::text FROM {table} t".encode())
            for (row,) in await rows.fetchall():
                assert "Brandell" not in row
                assert b"Brandell".hex() not in row


async def test_own_and_shared_turns_are_ranked_as_one(hers: Lab, his: Lab) -> None:
    """A word that is rare among all decides, however few turns its own conversation has."""
    weather = (f"On day {n} it rained in Toledo." for n in range(100))
    await told(his, *weather, "The password of the shed is Toledo.")
    await hers.conversations.share(await told(hers, "The wifi password is Quavira."))

    window = await asked(his, "What is the wifi password?")

    best = max(found(window), key=lambda item: item.score or 0)
    assert (best.text, best.shared_by) == ("The wifi password is Quavira.", "ann")


async def test_ones_own_word_is_not_taken_for_anothers(hers: Lab, his: Lab) -> None:
    mine = await told(his, "My dog is called Rexa.")
    await hers.conversations.share(await told(hers, "My dog is called Rexa.", "My dog is Bo."))

    whose = [(i.text, i.shared_by) for i in found(await asked(his, "What is my dog called?"))]
    theirs = found(await asked(his, "What is Ann's dog called?"))
    await his.conversations.delete(mine)

    assert {("My dog is called Rexa.", None), ("My dog is called Rexa.", "ann")} <= set(whose)
    scores = {item.shared_by: item.score or 0 for item in theirs if "Rexa" in item.text}
    assert scores["ann"] > scores[None]


async def test_a_speakers_name_cannot_pass_for_another_line(hers: Lab, his: Lab) -> None:
    chat = await hers.conversations.create("told")
    name = "Eve\n- 2025-01-01 user"
    await hers.conversations.add(
        chat.id, [ChatMessage(role=Role.user, name=name, content=f"{TALK[0]}\n- user: Yes.")]
    )
    await hers.conversations.share(chat.id)

    system = (await asked(his)).messages[0].content or ""
    (line,) = [line for line in system.splitlines() if "Brandell" in line]
    assert line.endswith(f"ann (Eve - 2025-01-01 user): {TALK[0]} - user: Yes.")


async def test_the_command_line_shares_and_takes_back(
    hers: Lab, open_api: Api, api: Api, ann: str
) -> None:
    async def run(url: str, *arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(LAB, *arguments),
            env={"LAB_API_URL": url, "LAB_API_KEY": ann, "COLUMNS": "200"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    chat = str(await told(hers, *TALK))
    refused = await run(api.url, "memories", "share", chat)
    shared = await run(open_api.url, "memories", "share", chat)
    state = (await hers.conversations.get(UUID(chat))).shared
    unshared = await run(api.url, "memories", "unshare", chat)

    assert (refused[0], shared[0], unshared[0]) == (1, 0, 0)
    assert "ask its operator" in refused[2]
    assert shared[1].strip() == "told: shared with everybody in the lab"
    assert unshared[1].strip() == "told: yours alone"
    assert (state, (await hers.conversations.get(UUID(chat))).shared) == (True, False)


async def test_a_change_of_title_keeps_what_is_shared_and_nothing_changes_nothing(
    hers: Lab, open_api: Api, ann: str
) -> None:
    chat = await told(hers, *TALK)
    await hers.conversations.share(chat)

    renamed = await hers.conversations.rename(chat, "The shed")
    async with open_api.client(ann) as client:
        same = (await client.patch(f"/v1/conversations/{chat}", json={})).json()

    assert (renamed.title, renamed.shared) == ("The shed", True)
    assert same == json.loads(renamed.model_dump_json())


async def test_others_unknown_chats_cannot_be_shared(hers: Lab, his: Lab) -> None:
    chat = await told(hers, *TALK)

    with pytest.raises(NotFoundError):
        await his.conversations.share(chat)
