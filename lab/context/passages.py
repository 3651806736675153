"""
Cut a text into the passages that it is searched by.

A passage ends where a paragraph or a sentence does, and holds as many of them of one page as its
tokens allow. A sentence that is longer is halved at a space, and where it has none, as an endless
word, anywhere.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from lab.protocols import Passage

MOST_CHARACTERS: Final = 8
"""For each token that a passage may have: a tokenizer may take an endless word for one token."""
COUNTED_AT_ONCE: Final = 4096
"""Texts: a tokenizer takes much memory for each."""
_BORDER = re.compile(r"(?<=[.!?…])[\"'’”)\]]*\s+|\n\s*|(?<=[。！？])")
"""Between two sentences, or two lines."""

CountEach = Callable[[Sequence[str]], Sequence[int]]


@dataclass(frozen=True)
class _Piece:
    """A sentence, or a part of a long one."""

    start: int
    end: int
    opens: bool
    """True where a paragraph begins."""

    n_tokens: int = 0
    """As counted, or as many as its length stands for."""


def cut(
    text: str, count_each: CountEach, *, most_tokens: int, pages: Sequence[int] = ()
) -> list[Passage]:
    """
    Return the passages of a text, in order; only white space stands outside of them.

    Parameters
    ----------
    text : str
        All of a document.
    count_each : callable
        Tokens of each of N texts, as the embedding model counts, special ones included.
    most_tokens : int
        Most tokens of a passage, beside special ones.
    pages : sequence of int
        Where each page begins in the text, where it has pages.
    """
    pieces = _measured(list(_sentences(text)), text, count_each, most_tokens)
    return [
        Passage(start, end, text[start:end], page or None)
        for start, end, page in _packed(pieces, most_tokens, pages)
    ]


def _sentences(text: str) -> Iterator[_Piece]:
    """Yield what stands between the borders, without white space around it."""
    for start, end, opens in _between_borders(text):
        yield from _stripped(_Piece(start, end, opens), text)


def _stripped(piece: _Piece, text: str) -> Iterator[_Piece]:
    """Yield the piece without the white space around it, unless it is nothing else."""
    content = text[piece.start : piece.end]
    if inside := content.strip():
        start = piece.start + len(content) - len(content.lstrip())
        yield _Piece(start, start + len(inside), piece.opens)


def _between_borders(text: str) -> Iterator[tuple[int, int, bool]]:
    start, opens = 0, True
    for border in _BORDER.finditer(text):
        if border.end() > start:
            # Closing quotes belong to the sentence before them.
            end = border.start() + len(border.group()) - len(border.group().lstrip("\"'’”)]"))
            yield start, end, opens
            opens = border.group().count("\n") > 1
            start = border.end()
    yield start, len(text), opens


def _measured(
    pieces: list[_Piece], text: str, count_each: CountEach, most_tokens: int
) -> list[_Piece]:
    """Return the pieces with their tokens, those that are too long halved until they fit."""
    longest = most_tokens * MOST_CHARACTERS
    waiting = [part for piece in pieces for part in _halved(piece, text, longest)]
    done: list[_Piece] = []
    while waiting:
        counts = _counted([text[piece.start : piece.end] for piece in waiting], count_each)
        counted, waiting = list(zip(waiting, counts, strict=True)), []
        for piece, n_tokens in counted:
            length = piece.end - piece.start
            if n_tokens <= most_tokens or length == 1:
                size = max(n_tokens, ceil(length / MOST_CHARACTERS))
                done.append(_Piece(piece.start, piece.end, piece.opens, size))
            else:
                waiting += _halved(piece, text, (length + 1) // 2)
    return sorted(done, key=lambda piece: piece.start)


def _counted(texts: Sequence[str], count_each: CountEach) -> Iterator[int]:
    """Yield the tokens of each text without special ones, which a passage has once."""
    (n_special,) = count_each([""])
    for first in range(0, len(texts), COUNTED_AT_ONCE):
        for n_tokens in count_each(texts[first : first + COUNTED_AT_ONCE]):
            yield n_tokens - n_special


def _halved(piece: _Piece, text: str, longest: int) -> list[_Piece]:
    """Return parts of at most so many characters, parted at spaces near the middle of each."""
    parts: list[_Piece] = []
    waiting = [piece]
    while waiting:
        part = waiting.pop()
        length = part.end - part.start
        if length <= longest:
            parts += _stripped(part, text)
            continue
        middle = part.start + length // 2
        reach = length // 4
        space = text.rfind(" ", middle - reach, middle)
        border = space if space > part.start else middle
        # The last one is taken next: so the parts come out in order.
        waiting += [_Piece(border, part.end, False), _Piece(part.start, border, part.opens)]
    return parts


def _packed(
    pieces: Sequence[_Piece], most_tokens: int, pages: Sequence[int]
) -> Iterator[tuple[int, int, int]]:
    """
    Yield where passages begin and end, and on which page; 0 where there are none.

    A passage ends when it is full, with its page, and half full where a paragraph would be torn.
    """
    start, end, page, n_tokens = 0, 0, 0, 0
    for piece, n_paragraph in zip(pieces, _paragraph_sizes(pieces), strict=True):
        is_torn = piece.opens and n_tokens + n_paragraph > most_tokens
        is_full = n_tokens + piece.n_tokens > most_tokens
        turned = bisect_right(pages, piece.start) != page
        if n_tokens and (turned or is_full or (is_torn and 2 * n_tokens >= most_tokens)):
            yield start, end, page
            n_tokens = 0
        if not n_tokens:
            start, page = piece.start, bisect_right(pages, piece.start)
        end = piece.end
        n_tokens += max(1, piece.n_tokens)
    if n_tokens:
        yield start, end, page


def _paragraph_sizes(pieces: Sequence[_Piece]) -> list[int]:
    """Return for each piece the tokens of its paragraph from there on."""
    sizes: list[int] = []
    size, opened = 0, True
    for piece in reversed(pieces):
        size = piece.n_tokens + (0 if opened else size)
        opened = piece.opens
        sizes.append(size)
    return sizes[::-1]
