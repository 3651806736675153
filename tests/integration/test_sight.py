"""Pictures in chats, as OpenAI's client, the lab's own and a stored conversation bring them."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, PermissionDeniedError

from lab.client import connect
from lab.db import Database
from lab.errors import (
    BlockedAddressError,
    DocumentError,
    DocumentTooLargeError,
    FetchError,
    InputError,
    MediaTypeError,
)
from lab.schemas.user import User
from tests.api_server import Api, running_api
from tests.tiny_vision import base64, picture, save_llava
from tests.web_server import WebServer, redirect, response, web_server

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
async def seeing_app(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """An API whose default model sees."""
    folder = tmp_path_factory.mktemp("sight")
    variables = {
        "LAB_DATA_FOLDER": str(folder / "data"),
        "LAB_CHAT_MODEL": str(save_llava(folder / "llava")),
        "LAB_WORKFLOW_AUTO_TITLE": "false",
        "LAB_WEB_ALLOWED": '["127.0.0.1"]',
        "LAB_LIMITS_MAX_BODY_BYTES": "100000",
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def api(seeing_app: Api, database: Database) -> AsyncIterator[Api]:
    yield seeing_app
    await seeing_app.until_idle()


def asked(*urls: str) -> list[Any]:
    pieces: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [*pieces, {"type": "text", "text": "ka mi to"}]}]


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64(content)}"


async def test_openais_client_shows_pictures(api: Api, ann: str) -> None:
    async with AsyncOpenAI(base_url=f"{api.url}/v1", api_key=ann, max_retries=0) as client:

        async def answer(model: str, *urls: str) -> tuple[str, int]:
            said = await client.chat.completions.create(
                model=model, messages=asked(*urls), max_tokens=8, temperature=0
            )
            assert said.usage is not None
            return said.choices[0].message.content or "", said.usage.prompt_tokens

        red, blue = [await answer("llava", uri(picture(c))) for c in ("red", "blue")]
        plain = await answer("llava")
        with pytest.raises(BadRequestError, match="`lab-tiny` reads text only, and 1 pictures"):
            await answer("lab-tiny", uri(picture("red")))
        with pytest.raises(BadRequestError, match=r"data URI.*https address, got 'ftp"):
            await answer("llava", "ftp://127.0.0.1/cat.png")
        with pytest.raises(BadRequestError, match="0 bytes"):
            await answer("llava", "data:image/png;base64,")
        with pytest.raises(BadRequestError, match="base64"):
            await answer("llava", "data:image/png;base64,!!")
        assert await answer("llava", uri(picture("red"))) == red

    assert red[0] != blue[0]
    assert red[1] == blue[1] == plain[1] + 4  # a picture of 28 pixels has four patches


async def test_a_conversation_keeps_its_pictures_and_shows_them_again(
    api: Api, ann: str, database: Database, owner: User, tmp_path: Path
) -> None:
    file = tmp_path / "red.png"
    file.write_bytes(picture("red"))
    async with connect(api.url, ann) as lab:
        sees = {card.id: card.vision for card in await lab.models()}
        conversation = (await lab.conversations.create("Pictures")).id
        given: dict[str, Any] = {"conversation": conversation, "max_new_tokens": 6, "memory": False}
        await lab.chat("ka mi to", images=[file, picture("blue")], **given)
        messages = await lab.conversations.messages(conversation)
        seen = await lab.window("sun la", conversation=conversation, memory=False)
        before = seen.receipt.n_tokens
        answer = await lab.chat("sun la", **given)
        with pytest.raises(InputError, match="read text only"):
            await lab.chat("ka", model="lab-tiny", **given)
        with pytest.raises(DocumentError, match="no picture"):
            await lab.chat("ka", images=[b"hello"], **given)
        n_messages = len(await lab.conversations.messages(conversation))

    assert (sees["default"], sees["lab-tiny"]) == (True, False)
    kinds = [part.type for part in messages[0].parts]
    assert kinds == ["image", "image", "text"]
    async with database.stores(owner.id) as stores:
        contents = [
            await stores.files.content(part.file_id)
            for part in messages[0].parts
            if part.type == "image"
        ]
    assert contents == [picture("red"), picture("blue")]
    assert answer.usage.prompt_tokens == before
    assert len(seen.messages[-3].images) == 2
    assert n_messages == 5  # a question that found no answer, and nothing of what is no picture


async def test_what_is_no_picture_is_not_stored(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab, api.client(ann) as client:
        conversation = (await lab.conversations.create("Pictures")).id
        for data, status, said in (
            ("", 400, "0 bytes"),
            ("é!", 400, "base64"),
            (base64(b"hello"), 415, "no picture"),
            ("file:///etc/passwd", 400, "http://"),
            ("http://127.0.0.2/red.png", 403, "LAB_WEB_ALLOWED"),
        ):
            message = {"role": "user", "content": "Hi", "images": [{"data": data}]}
            path = f"/v1/conversations/{conversation}/messages"
            answer = await client.post(path, json={"messages": [message]})
            assert answer.status_code == status
            assert said in answer.json()["error"]["message"]
        assert await lab.conversations.messages(conversation) == []


@pytest.fixture
async def pictures() -> AsyncIterator[WebServer]:
    """A server of pictures that the lab's operator lets through."""
    async with web_server() as web:
        web.answers |= {
            "/red.png": response(picture("red"), "image/png"),
            "/blue.png": response(picture("blue"), "binary/octet-stream"),
            "/moved": redirect("/red.png"),
            "/inside": redirect("http://127.0.0.2:1/red.png"),
            "/page": response(b"<html>", "text/html"),
            "/called-png": response(b"hello", "image/png"),
            "/large": response(picture("red").ljust(99_990), "image/png"),
        }
        yield web


async def test_pictures_are_fetched_by_their_address(
    api: Api, ann: str, pictures: WebServer
) -> None:
    async with AsyncOpenAI(base_url=f"{api.url}/v1", api_key=ann, max_retries=0) as client:

        async def answer(model: str, *urls: str, then: Sequence[str] = ()) -> str:
            messages = [*asked(*urls), *asked(*then)]
            said = await client.chat.completions.create(
                model=model, messages=messages, max_tokens=8, temperature=0
            )
            return said.choices[0].message.content or ""

        red, moved = pictures.url("/red.png"), pictures.url("/moved")
        fetched = await answer("llava", red, moved, red)
        paths = [request.split()[1] for request in pictures.asked]
        assert sorted(paths) == ["/moved", "/red.png", "/red.png"]  # each address once
        assert fetched == await answer("llava", *[uri(picture("red"))] * 3)

        n_asked = len(pictures.asked)
        with pytest.raises(BadRequestError, match="`lab-tiny` reads text only"):
            await answer("lab-tiny", red)
        with pytest.raises(PermissionDeniedError, match=r"127\.0\.0\.2.*LAB_WEB_ALLOWED"):
            await answer("llava", pictures.url("/red.png", "127.0.0.2"))
        many = [f"{red}?{i}" for i in range(65)]
        with pytest.raises(BadRequestError, match=r"`images`.*at most 64"):
            await answer("llava", *many)
        with pytest.raises(BadRequestError, match="65 addresses came, and 64"):
            await answer("llava", *many[:2], then=many[2:])
        assert len(pictures.asked) == n_asked
        with pytest.raises(PermissionDeniedError, match="LAB_WEB_ALLOWED"):
            await answer("llava", pictures.url("/inside"))


async def test_a_conversation_keeps_the_picture_and_not_its_address(
    api: Api, ann: str, pictures: WebServer
) -> None:
    async with connect(api.url, ann) as lab:
        conversation = (await lab.conversations.create("Pictures")).id
        given: dict[str, Any] = {"conversation": conversation, "max_new_tokens": 6}
        for path, error in {
            "/page": MediaTypeError,
            "/called-png": MediaTypeError,
            "/large": DocumentTooLargeError,
            "/nothing": FetchError,
            "/inside": BlockedAddressError,
        }.items():
            images = [pictures.url("/red.png"), pictures.url(path)]
            with pytest.raises(error):
                await lab.chat("ka mi to", images=images, **given)
        assert await lab.conversations.messages(conversation) == []

        images = [pictures.url("/red.png"), pictures.url("/blue.png")]
        await lab.chat("ka mi to", images=images, **given)
        pictures.answers.clear()
        await lab.chat("sun la", **given)  # which sees them again
        stored = (await lab.conversations.messages(conversation))[0].parts
        contents = [await lab.files.content(p.file_id) for p in stored if p.type == "image"]

    assert contents == [picture("red"), picture("blue")]
    assert not any("http" in part.model_dump_json() for part in stored)
