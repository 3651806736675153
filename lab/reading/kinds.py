"""Tell what a file is: by its content, and by its name where the content leaves it open."""

from pathlib import PurePath
from typing import Final
from zipfile import BadZipFile, ZipFile

from lab.errors import DocumentError, MediaTypeError

PLAIN: Final = "text/plain"
MARKDOWN: Final = "text/markdown"
HTML: Final = "text/html"
PDF: Final = "application/pdf"
WORD: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

READ: Final = "Plain text, Markdown, HTML, PDF and Word (.docx) are read."

_BY_NAME = {
    ".htm": HTML,
    ".html": HTML,
    ".xhtml": HTML,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
}
_PROMISED = {".pdf": (PDF, "a PDF"), ".docx": (WORD, "a Word document")}
_OTHERS = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "a WebP image, or sound or film in RIFF",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x7fELF": "a program",
    b"MZ\x90\x00": "a program",
    b"{\\rtf": "a document in RTF",
    b"%!PS": "a document in PostScript",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": (
        "a Word document of the old kind (.doc), or one with a password; "
        "save it as .docx without a password"
    ),
}
_HEAD = 1024
"""Bytes in which a PDF says that it is one, and a page that it is HTML."""


def media_type(file: ZipFile | bytes, name: str) -> str:
    """
    Return the media type of a file.

    Parameters
    ----------
    file : ZipFile or bytes
        The archive that it is, or its first bytes.
    name : str
        How it is called.

    Raises
    ------
    MediaTypeError
        If it is of a kind that the lab does not read, or not what its name says.
    """
    suffix = PurePath(name).suffix.lower()
    found = _of_archive(file) if isinstance(file, ZipFile) else _of_bytes(file, suffix)
    promised, called = _PROMISED.get(suffix, (found, ""))
    if found != promised:
        raise MediaTypeError(f"It is called `{suffix}` and is not {called}. {READ}")
    return found


def opened(file: object, head: bytes) -> ZipFile | bytes:
    """Return a file as `media_type` takes it; raise `DocumentError` for a broken archive."""
    if not head.startswith(b"PK\x03\x04"):
        return head
    try:
        return ZipFile(file)  # type: ignore[call-overload]
    except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DocumentError(f"It is a damaged zip archive ({error}); send it again.") from error


def _of_archive(archive: ZipFile) -> str:
    if "word/document.xml" not in archive.namelist():
        raise MediaTypeError(f"It is a zip archive and no Word document. {READ}")
    return WORD


def _of_bytes(head: bytes, suffix: str) -> str:
    if head.startswith(b"%PDF-") or (suffix == ".pdf" and b"%PDF-" in head[:_HEAD]):
        return PDF
    for signature, called in _OTHERS.items():
        if head.startswith(signature):
            raise MediaTypeError(f"It is {called}. {READ}")
    start = head[:_HEAD].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return HTML
    return _BY_NAME.get(suffix, PLAIN)
