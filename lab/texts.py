"""Texts from outside, as they can be stored."""

import re
from typing import Any, Final

NUL: Final = "\x00"
"""The one character that PostgreSQL's texts cannot hold."""
REPLACEMENT: Final = "\ufffd"

_REPLACED = str.maketrans({"\x00": None, "\r": "\n"})


def clean(text: str) -> str:
    r"""
    Return a text as it can be stored: no NUL, no half of a surrogate pair, lines ended by `\n`.

    >>> clean("a\r\nb\x00c\ud800") == "a\nbc\ufffd"
    True
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\r\n", "\n").translate(_REPLACED)


_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
UNSEEN: Final = rf"\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}"
"""Ranges of signs that command a terminal, or reorder what stands around them."""
_UNSEEN = re.compile(f"[{UNSEEN}]")


def visible(text: str) -> str:
    r"""
    Return a text as it can be shown anywhere: with a mark for each sign that commands a terminal.

    >>> visible("a\x1b]0;b\x07\u202ec\n") == "a\ufffd]0;b\ufffd\ufffdc\n"
    True
    """
    return _UNSEEN.sub(REPLACEMENT, text)


def storable(text: str) -> str:
    r"""
    Return a text that is kept as it came, but for what no database holds.

    >>> storable("a\r\nb\x00c\ud800") == "a\r\nb\ufffdc\ufffd"
    True
    """
    if text.isascii():
        return text.replace(NUL, REPLACEMENT)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace(NUL, REPLACEMENT)


def storable_json(value: Any) -> Any:
    r"""
    Return a value of JSON with all its texts `storable`.

    >>> storable_json({"a": ["\x00", 1]}) == {"a": ["\ufffd", 1]}
    True
    """
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_json(key): storable_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(one) for one in value]
    return value
