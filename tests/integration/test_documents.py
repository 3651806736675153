"""What a person does with documents: add, search, cite, ask about, delete."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from lab.client import Lab, connect
from lab.db import Database
from lab.errors import (
    AuthenticationError,
    DocumentError,
    InputError,
    LabError,
    MediaTypeError,
    NotFoundError,
    PermissionDeniedError,
)
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.scope import Scope
from lab.schemas.source_kind import SourceKind
from lab.schemas.user import User
from lab.widgets.receipt import receipt_html
from tests.api_server import Api, key_of, running_api
from tests.files import PNG, pdf, word, zip_bomb
from tests.stack import LAB

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
FACT = "Ann's dog is called Zamiko."
QUESTION = "What is Ann's dog called?"
WEATHER = "\n\n".join(
    f"On day {day} the wind came from the west, and the boats of harbour {day % 7} stayed at home. "
    f"The keeper of the lighthouse wrote {day * 3} lines into his book."
    for day in range(60)
)
BOOK = f"{WEATHER}\n\n{FACT}\n\n{WEATHER.replace('wind', 'storm')}"
FORM_TYPE = "multipart/form-data; boundary=b"
PLANES = " ".join(chr(0x10000 * plane + 0x41) for plane in range(17))


async def rows(database_url: str) -> tuple[int, int]:
    """Count documents and passages, whoever owns them."""
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        found = await connection.execute(
            "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM document_chunks)"
        )
        (counts,) = await found.fetchall()
    return counts


async def asked(lab: Lab, question: str = QUESTION) -> tuple[str, list[ReceiptItem], UUID]:
    """Ask in a new chat; return the answer, what was considered of documents, and the run."""
    chat = await lab.conversations.create("asked")
    answer = await lab.chat(question, conversation=chat.id, seed=1, temperature=0)
    receipt = await lab.receipt(answer.run_id)
    assert receipt.n_tokens <= receipt.context_length - receipt.answer_tokens
    items = [item for item in receipt.items if item.kind is SourceKind.document]
    return answer.text, items, answer.run_id


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pets.txt", FACT.encode()),
        ("pets.md", f"# Pets\n\n{FACT}\n".encode()),
        ("pets.html", f"<html><body><p>{FACT}</p></body></html>".encode()),
        ("pets.pdf", pdf("Contents.", FACT)),
        ("pets.docx", word("Pets", FACT)),
    ],
)
async def test_a_model_answers_from_what_is_uploaded_and_the_receipt_cites_it(
    api: Api, ann: str, name: str, content: bytes
) -> None:
    async with connect(api.url, ann) as lab:
        document = (await lab.documents.add(content, name)).document
        answer, items, run_id = await asked(lab)
        page = receipt_html(await lab.runs.get(run_id))
        item = next(item for item in items if FACT in item.text)
        cited = await lab.documents.text(document.id, item.start or 0, item.end)

    assert "Zamiko" in answer
    assert item.included
    assert item.source_id == document.id
    assert item.source == ("pets.pdf, page 2" if name == "pets.pdf" else name)
    assert item.said_at == document.created_at
    assert item.score is not None
    assert item.score > 0
    assert FACT in cited
    assert "<h4>Documents</h4>" in page
    assert f"{item.source}, characters {item.start}–{item.end}" in page


async def test_one_passage_of_a_long_book_is_found_and_fits_its_share(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        document = (await lab.documents.add(BOOK.encode(), "book.txt")).document
        (best, *_) = await lab.documents.search(QUESTION)
        answer, items, _ = await asked(lab)

    assert document.n_characters == len(BOOK)
    assert FACT in best.chunk.text
    assert best.chunk.text == BOOK[best.chunk.start : best.chunk.end]
    standing = [item for item in items if item.included]
    assert FACT in standing[-1].text, "the best stands nearest to the question"
    assert sum(item.n_tokens for item in standing) < 0.3 * 896
    assert "Zamiko" in answer


async def test_a_lab_without_documents_or_with_no_share_is_as_before(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        before = (await asked(lab))[:2]
        await lab.documents.add(FACT.encode(), "pets.txt")
        await lab.config.set("context.document_share", 0)
        silent = (await asked(lab))[:2]
        await lab.config.reset("context.document_share")
        stateless = await lab.receipt((await lab.chat(QUESTION, seed=1)).run_id)
        on_request = await lab.receipt((await lab.chat(QUESTION, seed=1, memory=True)).run_id)

    assert before[1] == silent[1] == []
    assert before[0] == silent[0]
    assert [i.kind for i in stateless.items if i.kind is SourceKind.document] == []
    assert [i.kind for i in on_request.items if i.kind is SourceKind.document] != []


async def test_every_plane_of_unicode_is_cited_exactly(api: Api, ann: str) -> None:
    text = "\n\n".join(f"{PLANES} number {n}. The sky is wide." for n in range(200))
    async with connect(api.url, ann) as lab:
        document = (await lab.documents.add(text.encode(), "planes.txt")).document
        hits = await lab.documents.search("number 77", limit=50)
        cited = [
            await lab.documents.text(document.id, hit.chunk.start, hit.chunk.end) for hit in hits
        ]
        whole = await lab.documents.text(document.id)

    assert whole == text
    assert cited == [hit.chunk.text for hit in hits]
    assert any("number 77." in hit.chunk.text for hit in hits)


async def test_the_same_bytes_are_the_same_document_for_each_owner(
    api: Api, ann: str, bob: str, database_url: str
) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        both = await asyncio.gather(
            hers.documents.add(BOOK.encode(), "a.txt"), hers.documents.add(BOOK.encode(), "b.txt")
        )
        again = await hers.documents.add(BOOK.encode(), "c.txt")
        other = await his.documents.add(BOOK.encode(), "a.txt")
        listed = await hers.documents.list()

    assert sorted(one.is_new for one in both) == [False, True]
    assert both[0].document == both[1].document == again.document == listed[0]
    assert not again.is_new
    assert other.is_new
    assert other.document.id != again.document.id
    assert (await rows(database_url))[0] == 2


async def test_what_is_deleted_is_found_no_more(
    api: Api, ann: str, bob: str, database_url: str
) -> None:
    async with connect(api.url, ann) as hers, connect(api.url, bob) as his:
        document = (await hers.documents.add(FACT.encode(), "pets.txt")).document
        with pytest.raises(NotFoundError):
            await his.documents.delete(document.id)
        assert await his.documents.search(QUESTION) == []
        await hers.documents.delete(document.id)

        assert await hers.documents.search(QUESTION) == []
        with pytest.raises(NotFoundError):
            await hers.documents.text(document.id)
    assert await rows(database_url) == (0, 0)


@pytest.mark.parametrize(
    ("name", "content", "status", "says"),
    [
        ("a.txt", b"", 422, "`a.txt` is empty (0 bytes)"),
        ("a.pdf", pdf(FACT, password="secret"), 422, "encrypted; save it without a password"),
        ("a.pdf", PNG, 415, "is a PNG image. Plain text, Markdown, HTML, PDF and Word"),
        ("a.docx", zip_bomb(), 422, "unpacks to"),
        ("a.txt", b"a\x00b", 415, "NUL byte"),
        ("a.pdf", b"%PDF-1.7\n" + os.urandom(9000), 422, "damaged"),
        ("a.txt", b"x" * 2_000_001, 413, "more than 2,000,000 characters"),
        ("a.txt", b"x" * (52_428_800 + 9000), 413, "larger than 52428800 bytes"),
        (f"{'a' * 201}.txt", b"x", 400, "a name of 1 to 200 characters"),
    ],
)
async def test_bad_files_are_refused_and_nothing_is_kept(
    api: Api, ann: str, database_url: str, name: str, content: bytes, status: int, says: str
) -> None:
    async with api.client(ann) as client:
        answer = await client.post("/v1/documents", files={"file": (name, content)})

    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]["message"]
    assert await rows(database_url) == (0, 0)


async def test_200_megabytes_are_refused_before_they_are_read(
    api: Api, ann: str, tmp_path: Path
) -> None:
    file = tmp_path / "large.txt"
    with file.open("wb") as large:
        large.truncate(200 * 2**20)
    async with connect(api.url, ann) as lab:
        with pytest.raises(LabError, match="larger than 52428800 bytes") as raised:
            await lab.documents.add(file)

    assert "limits.max_document_bytes" in str(raised.value)


@pytest.mark.parametrize(("scopes", "status"), [(None, 401), ([Scope.custom_lab_infer], 403)])
async def test_who_may_not_store_a_file_is_refused_before_it_is_read(
    api: Api, database: Database, owner: User, scopes: list[Scope] | None, status: int
) -> None:
    key = "lab_foreign" if scopes is None else await key_of(database, owner, scopes)
    url = httpx.URL(api.url)
    head = (
        f"POST /v1/documents HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {40 * 2**20}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
    )
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(head.encode() + b"x" * 100_000)
        async with asyncio.timeout(10):
            answered = await reader.readline()
    finally:
        writer.close()

    assert answered.startswith(f"HTTP/1.1 {status} ".encode())
    async with connect(api.url, key) as lab:
        with pytest.raises((AuthenticationError, PermissionDeniedError)):
            await lab.documents.add(b"x" * (40 * 2**20), "a.txt")


async def test_what_is_no_form_with_one_file_is_refused(api: Api, ann: str) -> None:
    path, file = "/v1/documents", ("a.txt", b"x")
    async with api.client(ann) as client:
        answers = [
            await client.post(path, files={"wrong": file}),
            await client.post(path, data={"file": "text"}),
            await client.post(path, json={"file": "text"}),
            await client.post(path),
            await client.post(path, files={"file": (None, b"text")}),
            await client.post(path, files=[("file", file), ("file", file)]),
            await client.post(path, content=b"no form", headers={"Content-Type": FORM_TYPE}),
        ]

    assert [answer.status_code for answer in answers] == [400] * 7
    said = [answer.json()["error"]["message"] for answer in answers]
    assert ["no file came" in message for message in said] == [True] * 5 + [False] * 2
    assert said[5:] == ["Too many files. Maximum number of files is 1.", "Invalid multipart data."]


async def test_an_endless_word_is_kept_in_passages(api: Api, ann: str) -> None:
    async with connect(api.url, ann) as lab:
        added = await lab.documents.add(b"x" * 100_000, "word.txt")
        whole = await lab.documents.text(added.document.id)

    assert whole == "x" * 100_000
    assert added.document.n_chunks >= 100


async def test_bad_questions_and_places_are_refused(api: Api, ann: str) -> None:
    async with api.client(ann) as client, connect(api.url, ann) as lab:
        document = (await lab.documents.add(FACT.encode(), "pets.txt")).document
        long = await client.post("/v1/documents/search", json={"query": "dog " * 25_000})
        empty = await client.post("/v1/documents/search", json={"query": ""})
        path = f"/v1/documents/{document.id}/text"
        backwards = await client.get(path, params={"start": 5, "end": 2})
        beyond = (await client.get(path, params={"start": 9000})).json()
        nameless = await client.post("/v1/documents", files={"wrong": ("a.txt", b"x")})
        for odd in ("' | & ! :*", "\u0000" * 3, "the of and", "\U0010ffff" * 99, "a\\b'c:*"):
            assert isinstance(await lab.documents.search(odd), list)

    assert (long.status_code, empty.status_code) == (400, 400)
    assert "at most 10000 characters" in long.json()["error"]["message"]
    assert len(long.json()["error"]["message"]) < 300
    assert (backwards.status_code, nameless.status_code) == (400, 400)
    assert (beyond["text"], beyond["start"], beyond["end"]) == ("", len(FACT), len(FACT))


async def test_a_sender_who_leaves_keeps_nothing(api: Api, ann: str, database_url: str) -> None:
    async with api.client(ann) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(
                "/v1/documents",
                files={"file": ("book.txt", BOOK.encode() * 60)},
                timeout=httpx.Timeout(60, read=0.5),
            )
    await asyncio.sleep(1)

    assert await rows(database_url) == (0, 0)
    async with connect(api.url, ann) as lab:
        assert (await lab.documents.add(FACT.encode(), "pets.txt")).is_new


async def test_documents_need_the_scope_for_memory(
    api: Api, database: Database, owner: User
) -> None:
    key = await key_of(database, owner, [Scope.custom_lab_infer])
    async with api.client(key) as client:
        sent = await client.post("/v1/documents", files={"file": ("a.txt", b"x")})
        listed = await client.get("/v1/documents")

    assert (sent.status_code, listed.status_code) == (403, 403)


@pytest.fixture
async def small_api(database: Database, database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Return a server that allows little."""
    variables = {
        "LAB_DATA_FOLDER": str(tmp_path / "data"),
        "LAB_LIMITS_MAX_DOCUMENT_BYTES": "2000",
        "LAB_LIMITS_MAX_DOCUMENT_PAGES": "1",
        "LAB_LIMITS_DOCUMENT_TIMEOUT_S": "0.01",
    }
    async with running_api(database_url, **variables) as api:
        yield api


async def test_the_operator_sets_the_limits(small_api: Api, ann: str, database_url: str) -> None:
    async with connect(small_api.url, ann) as lab:
        with pytest.raises(LabError, match="larger than 2000 bytes"):
            await lab.documents.add(b"x" * 8000, "a.txt")
        with pytest.raises(DocumentError, match=r"longer than 0\.01 s"):
            await lab.documents.add(FACT.encode(), "a.txt")

    assert await rows(database_url) == (0, 0)


async def test_the_client_names_what_is_wrong_with_a_file(
    api: Api, ann: str, tmp_path: Path
) -> None:
    async with connect(api.url, ann) as lab:
        with pytest.raises(InputError, match="cannot be opened: No such file"):
            await lab.documents.add(tmp_path / "none.txt")
        with pytest.raises(InputError, match="give `name`"):
            await lab.documents.add(b"x")
        with pytest.raises(MediaTypeError):
            await lab.documents.add(PNG, "a.png")
        with pytest.raises(NotFoundError):
            await lab.documents.get(uuid4())


async def test_the_command_line_adds_searches_shows_and_deletes(
    api: Api, ann: str, tmp_path: Path
) -> None:
    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(LAB, "documents", *arguments),
            env={
                "LAB_API_URL": api.url,
                "LAB_API_KEY": ann,
                "COLUMNS": "200",
                "PYTHONPATH": str(ROOT),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()

    good, bad = tmp_path / "pets.txt", tmp_path / "photo.pdf"
    good.write_text(f"{WEATHER[:300]}\n\n{FACT}")
    bad.write_bytes(PNG)

    added = await run("add", str(good), str(bad), str(tmp_path / "none.txt"))
    again = json.loads((await run("add", str(good), "--json"))[1])
    listed = json.loads((await run("list", "--json"))[1])
    (hit, *_) = json.loads((await run("search", QUESTION, "--json"))[1])
    place = ("--start", str(hit["chunk"]["start"]), "--end", str(hit["chunk"]["end"]))
    shown = await run("show", listed[0]["id"], *place)
    deleted = await run("delete", listed[0]["id"])
    left = json.loads((await run("list", "--json"))[1])

    assert added[0] == 1
    assert "pets.txt" in added[1]
    assert "is a PNG image" in added[2]
    assert "none.txt` cannot be opened" in added[2]
    assert "Traceback" not in added[2]
    assert [(one["document"]["id"], one["is_new"]) for one in again] == [(listed[0]["id"], False)]
    assert FACT in shown[1]
    assert (deleted[0], left) == (0, [])
