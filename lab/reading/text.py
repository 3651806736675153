"""What reading a file gives, and how far it may go."""

from collections.abc import Iterable
from dataclasses import dataclass

from lab.errors import DocumentError, DocumentTooLargeError
from lab.texts import clean

PAGE_BREAK = "\n\n"


@dataclass(frozen=True)
class Limits:
    """How far reading one file may go."""

    max_pages: int
    max_characters: int
    timeout_s: float


@dataclass(frozen=True)
class Text:
    r"""
    The text of a file.

    Attributes
    ----------
    media_type : str
        What it was read as.
    text : str
        All of it, lines ended by `\n`.
    pages : sequence of int
        Where each page begins in the text; empty where the file has none.
    """

    media_type: str
    text: str
    pages: tuple[int, ...] = ()


def joined(parts: Iterable[str], limits: Limits, separator: str) -> tuple[str, list[int]]:
    """
    Return parts of a text as one, and where each begins; read no further than the limit.

    Raises
    ------
    DocumentTooLargeError
        If the text is longer than the limit.
    """
    whole: list[str] = []
    starts: list[int] = []
    length = 0
    for part in parts:
        text = clean(part)
        starts.append(length)
        whole.append(text)
        length += len(text) + len(separator)
        if length - len(separator) > limits.max_characters:
            raise DocumentTooLargeError(
                f"Its text has more than {limits.max_characters:,} characters "
                "(limits.max_document_characters); split it, or ask the operator for more."
            )
    return separator.join(whole), starts


def required(text: str, advice: str) -> str:
    """Return a text that says something, or raise `DocumentError` with the advice."""
    if not text.strip():
        raise DocumentError(f"It holds no text; {advice}")
    return text
