"""Addresses: one form for each page, whatever links add to it."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from w3lib.url import canonicalize_url

from lab.texts import clean

LONGEST: Final = 1200
"""Characters of an address that is read: two of them fit into a row of an index."""
_TRACKING = re.compile(
    r"utm_\w+|fbclid|gclid|dclid|gbraid|wbraid|msclkid|yclid|igshid|mc_[ce]id|_hs(enc|mi)|mkt_tok"
)
"""Parameters by which links say where a reader comes from; no page depends on them."""
_PORTS = {"http": 80, "https": 443}


def canonical(url: str) -> str:
    """
    Return the one form of an address, by which pages are compared and found again.

    >>> canonical("HTTP://Example.org:80/a?b=2&utm_source=x&a=1#part")
    'http://example.org/a?a=1&b=2'
    """
    parts = urlsplit(canonicalize_url(url.strip()))
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host.removesuffix(".")
    if parts.port not in (None, _PORTS.get(parts.scheme)):
        host = f"{host}:{parts.port}"
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if not _TRACKING.fullmatch(name.lower())
    ]
    return urlunsplit((parts.scheme, host, parts.path or "/", urlencode(kept), ""))


def key_of(url: str) -> str:
    """Return what an address is compared by: its canonical form, or itself where it is none."""
    try:
        return canonical(url)
    except ValueError:
        return clean(url)
