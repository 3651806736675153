"""Texts from outside, as they can be stored."""

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
