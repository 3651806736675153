"""Texts from outside, as they can be stored."""

_REPLACED = str.maketrans({"\x00": None, "\r": "\n"})


def clean(text: str) -> str:
    r"""
    Return a text as it can be stored: no NUL, no half of a surrogate pair, lines ended by `\n`.

    >>> clean("a\r\nb\x00c\ud800") == "a\nbc\ufffd"
    True
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\r\n", "\n").translate(_REPLACED)
