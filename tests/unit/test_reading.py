"""Files to text, whatever they are: each is read in a child process, as in service."""

import os
from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO

import pytest

from lab.errors import DocumentError, DocumentTooLargeError, LabError, MediaTypeError
from lab.reading import Limits, Text, read
from tests.files import PNG, entity_bomb, pdf, word, zip_bomb

LIMITS = Limits(max_pages=20, max_characters=100_000, timeout_s=60)
FACT = "Ann's dog is called Zamiko."
PLANES = " ".join(chr(0x10000 * plane + 0x41) for plane in range(17))


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with TemporaryFile() as opened:
        yield opened


async def text_of(file: IO[bytes], content: bytes, name: str, limits: Limits = LIMITS) -> Text:
    file.write(content)
    return await read(file, name, limits)


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.txt", FACT.encode(), "text/plain"),
        ("a", FACT.encode(), "text/plain"),
        ("a.md", f"# Pets\n\n{FACT}".encode(), "text/markdown"),
        ("a.html", f"<html><body><p>{FACT}</p></body></html>".encode(), "text/html"),
        ("a", f"<!DOCTYPE html><p>{FACT}</p>".encode(), "text/html"),
        ("a.pdf", pdf("First.", FACT), "application/pdf"),
        ("a.txt", pdf(FACT), "application/pdf"),
        ("a.docx", word("Pets", FACT), "application/vnd.openxmlformats-officedocument."),
        ("a.txt", FACT.encode("utf-16"), "text/plain"),
        ("a.txt", FACT.encode("utf-32"), "text/plain"),
    ],
)
async def test_each_kind_is_read(file: IO[bytes], name: str, content: bytes, kind: str) -> None:
    found = await text_of(file, content, name)

    assert FACT in found.text
    assert found.media_type.startswith(kind)


async def test_pages_are_told_apart(file: IO[bytes]) -> None:
    found = await text_of(file, pdf("First page.", "Second page."), "a.pdf")

    assert [found.text[start:].split(" ")[0] for start in found.pages] == ["First", "Second"]


async def test_tables_are_read_row_by_row(file: IO[bytes]) -> None:
    table = (("Door", "Code"), ("Cellar", "4711"))
    found = await text_of(file, word("Codes:", table=table), "a.docx")

    assert found.text.split("\n\n") == ["Codes:", "Door | Code", "Cellar | 4711"]


async def test_every_plane_of_unicode_is_kept(file: IO[bytes]) -> None:
    assert (await text_of(file, PLANES.encode(), "a.txt")).text == PLANES


async def test_old_encodings_are_guessed_and_lines_end_alike(file: IO[bytes]) -> None:
    text = "Die Straße ist naß.\r\nDer Hund heißt Zamiko, und die Äpfel sind grün."
    found = await text_of(file, text.encode("latin-1"), "a.txt")

    assert found.text == text.replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("name", "content", "error", "says"),
    [
        ("a.txt", b" \n ", DocumentError, "holds no text"),
        ("a.txt", b"a\x00b", MediaTypeError, "NUL byte"),
        ("a.pdf", PNG, MediaTypeError, "is a PNG image"),
        ("a.txt", PNG, MediaTypeError, "is a PNG image"),
        ("a.pdf", b"Hello.", MediaTypeError, "is called `.pdf` and is not a PDF"),
        ("a.docx", pdf(FACT), MediaTypeError, "is called `.docx` and is not a Word document"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), MediaTypeError, "password"),
        ("a.pdf", pdf(FACT, password="secret"), DocumentError, "is encrypted"),
        ("a.pdf", pdf(""), DocumentError, "text recognition"),
        ("a.pdf", pdf(FACT)[:200], DocumentError, "damaged"),
        ("a.pdf", b"%PDF-1.7\n" + os.urandom(5000), DocumentError, "damaged"),
        ("a.pdf", pdf(*"abcdefghijklmnopqrstuvwxyz"), DocumentTooLargeError, "26 pages, and 20"),
        ("a.txt", b"x" * 100_001, DocumentTooLargeError, "more than 100,000 characters"),
        ("a.docx", zip_bomb(), DocumentError, "unpacks to 419,430,"),
        ("a.docx", entity_bomb(), DocumentError, "cannot be added"),
        ("a.docx", b"PK\x03\x04" + bytes(99), DocumentError, "damaged zip"),
        ("a.docx", word(FACT)[:-400], DocumentError, "damaged"),
    ],
)
async def test_what_cannot_be_read_says_why(
    file: IO[bytes], name: str, content: bytes, error: type[LabError], says: str
) -> None:
    with pytest.raises(error, match=f"(?s)`{name}` cannot be added.*{says}|{says}") as raised:
        await text_of(file, content, name)

    assert type(raised.value) is error
    assert "Traceback" not in str(raised.value)


async def test_reading_that_takes_too_long_is_ended(file: IO[bytes]) -> None:
    limits = replace(LIMITS, timeout_s=0.01)

    with pytest.raises(DocumentError, match=r"longer than 0\.01 s"):
        await text_of(file, FACT.encode(), "a.txt", limits)


async def test_what_is_read_sees_no_secret(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_DATABASE_URL", "postgresql://secret")
    asked: list[dict[str, str]] = []
    spawn = __import__("asyncio").create_subprocess_exec

    async def noted(*arguments: str, env: dict[str, str], **options: object) -> object:
        asked.append(env)
        return await spawn(*arguments, env=env, **options)

    monkeypatch.setattr("lab.reading.reader.asyncio.create_subprocess_exec", noted)
    await text_of(file, FACT.encode(), "a.txt")

    assert [set(env) for env in asked] == [{"PYTHONPATH"}]
