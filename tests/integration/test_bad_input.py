"""What nobody should send, and somebody will: a clear answer, and nothing half stored."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from lab.client import Lab, connect
from lab.errors import InputError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from tests.api_server import Api, hello
from tests.integration.conftest import execute
from tests.stack import LAB

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
NUL = "before\x00after"
PLANES = " ".join(chr(0x10000 * plane + 0x41) for plane in range(17))
ENDLESS = "x" * 1_000_000
FINE = {"role": "user", "content": "Fine."}
TEXTS = (
    "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM memories),"
    " (SELECT count(*) FROM memory_terms), (SELECT count(*) FROM documents),"
    " (SELECT count(*) FROM runs WHERE status = 'running')"
)


async def chat_of(lab: Lab, *texts: str) -> str:
    """Return a conversation in which something was said."""
    chat = await lab.conversations.create("Named")
    await lab.conversations.add(chat.id, [ChatMessage(role=Role.user, content=t) for t in texts])
    return str(chat.id)


def requests_with(text: str, chat: str, memory: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Return requests with a text in every field that is stored or searched."""
    said = {"role": "user", "content": text}
    answer = {"role": "tool", "content": "x", "tool_call_id": text}
    messages = f"/v1/conversations/{chat}/messages"
    return [
        ("POST", messages, {"json": {"messages": [FINE, said]}}),
        ("POST", messages, {"json": {"messages": [FINE, FINE | {"name": text}]}}),
        ("POST", messages, {"json": {"messages": [FINE, answer]}}),
        ("POST", "/v1/conversations", {"json": {"title": text}}),
        ("PATCH", f"/v1/conversations/{chat}", {"json": {"title": text}}),
        ("PATCH", f"/v1/memories/{memory}", {"json": {"text": text}}),
        ("GET", "/v1/memories/search", {"params": {"q": text}}),
        ("POST", "/v1/turns", {"json": {"messages": [said], "conversation_id": chat}}),
        ("POST", "/v1/turns/window", {"json": {"turn": {"messages": [said], "memory": True}}}),
        ("POST", "/v1/chat/completions", {"json": hello(text, conversation_id=chat)}),
        ("POST", "/v1/chat/completions", {"json": hello("x", stop=[text])}),
        ("POST", "/v1/keys", {"json": {"name": text}}),
        ("PATCH", "/v1/config", {"json": {"roles": {"primary": text}}}),
    ]


async def test_a_nul_in_any_text_is_refused_and_nothing_of_it_is_kept(
    api: Api, ann: str, database_url: str
) -> None:
    async with connect(api.url, ann) as lab, api.client(ann) as client:
        chat = await chat_of(lab, "It rains.")
        (memory,) = await lab.memories.list()
        before = await execute(database_url, TEXTS)
        for method, path, content in requests_with(NUL, chat, str(memory.id)):
            answer = await client.request(method, path, **content)
            assert (answer.status_code, "NUL character" in answer.text) == (400, True), path

        assert await execute(database_url, TEXTS) == before
        assert await lab.memories.get(memory.id) == memory


async def test_every_plane_of_unicode_is_kept_and_found_as_it_was_said(api: Api, ann: str) -> None:
    text = f"The planes are {PLANES}"
    async with connect(api.url, ann) as lab:
        chat = await chat_of(lab, "It rains.", text)
        await lab.conversations.rename((await lab.conversations.list())[0].id, PLANES)
        (hit, *_) = await lab.memories.search(f"planes {PLANES}")
        kept = await lab.conversations.messages(hit.memory.conversation_id)
        (named,) = await lab.conversations.list()

    assert (hit.memory.text, named.title, str(named.id)) == (text, PLANES, chat)
    assert kept[1].model_dump()["parts"][0]["text"] == text


async def test_an_endless_word_is_remembered_whole_and_harms_no_search(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab, api.client(ann) as client:
        await chat_of(lab, "My dog is called Zamiko.", ENDLESS, "It rains.")
        hits = await lab.memories.search("What is my dog called?")
        asked = await client.post("/v1/chat/completions", json=hello(ENDLESS))
        (longest,) = [m for m in await lab.memories.list() if len(m.text) > 100]
        corrected = await client.patch(f"/v1/memories/{longest.id}", json={"text": ENDLESS})

    assert hits[0].memory.text == "My dog is called Zamiko."
    assert longest.text == ENDLESS
    assert (asked.status_code, corrected.status_code) == (400, 400)
    assert "the window holds 1024" in asked.json()["error"]["message"]
    assert "at most 200000 characters" in corrected.json()["error"]["message"]
    assert len(corrected.text) < 500


async def test_a_query_of_100_kilobytes_is_refused(api: Api, ann: str) -> None:
    query = "dog " * 25_000
    url = httpx.URL(api.url)
    async with connect(api.url, ann) as lab, api.client(ann) as client:
        await chat_of(lab, "My dog is called Zamiko.")
        long = await client.get("/v1/memories/search", params={"q": query[:10_001]})
        with pytest.raises(InputError, match="give less text"):
            await lab.memories.search(query)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            f"GET /v1/memories/search?q={query.replace(' ', '+')} HTTP/1.1\r\nHost: lab\r\n"
            f"Connection: close\r\nAuthorization: Bearer {ann}\r\n\r\n".encode()
        )
        raw = (await reader.read()).decode()
        writer.close()

    assert long.status_code == 400
    assert "at most 10000 characters" in long.json()["error"]["message"]
    assert raw.startswith("HTTP/1.1 4")
    assert len(raw) < 1000


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("memories", "search", "dog " * 25_000), "give less text"),
        (("memories", "search", "dog " * 5_000), "at most 10000 characters"),
        (("documents", "search", "dog " * 5_000), "at most 10000 characters"),
        (("memories", "correct", "ID", " "), "cannot be blank"),
        (("chat", ENDLESS[:100_000]), "the window holds 1024"),
    ],
)
async def test_the_command_line_says_it_in_one_line(
    api: Api, ann: str, arguments: tuple[str, ...], says: str
) -> None:
    async with connect(api.url, ann) as lab:
        await chat_of(lab, "My dog is called Zamiko.")
        (memory,) = await lab.memories.list()
    process = await asyncio.create_subprocess_exec(
        *(LAB, *(str(memory.id) if a == "ID" else a for a in arguments)),
        env={
            "LAB_API_URL": api.url,
            "LAB_API_KEY": ann,
            "COLUMNS": "300",
            "PYTHONPATH": str(ROOT),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()

    assert process.returncode == 1
    assert says in err.decode()
    assert "Traceback" not in err.decode()
    assert len(err) < 1000
