"""What the body of an answer is, and its text."""

import re
from typing import Final

from charset_normalizer import from_bytes
from w3lib.encoding import html_body_declared_encoding, http_content_type_encoding, read_bom

HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
PDF: Final = "application/pdf"
LOOKED_AT: Final = 2**16
"""Bytes by which an encoding is guessed."""
_HEAD: Final = 4096
"""Bytes in which a page shows that it is HTML, after comments and scripts."""
_MARKUP = re.compile(rb"<(!doctype html|html|head|body)[\s>]", re.IGNORECASE)
_BEGINS = re.compile(
    rb"\s*<(!--|(script|iframe|h1|div|font|table|a|style|title|b|br|p)[\s/>])", re.IGNORECASE
)
"""How pages begin that leave their head out (WHATWG, "MIME Sniffing Standard", section 7.1)."""


def media_type_of(body: bytes, content_type: str) -> str:
    r"""
    Return what a body is: a PDF by its first bytes, else as the server says, else by its markup.

    >>> media_type_of(b"%PDF-1.7", "text/html"), media_type_of(b"Hi", "Text/Plain; charset=x")
    ('application/pdf', 'text/plain')
    >>> media_type_of(b"<!-- made by hand --><!DOCTYPE html><p>Hi", "")
    'text/html'
    >>> media_type_of(b"\n<script>x()</script>Hi", ""), media_type_of(b"a <b> c", "")
    ('text/html', 'text/plain')
    """
    if body.startswith(b"%PDF-"):
        return PDF
    if declared := content_type.partition(";")[0].strip().lower():
        return declared
    is_html = _MARKUP.search(body[:_HEAD]) or _BEGINS.match(body[:_HEAD])
    return "text/html" if is_html else "text/plain"


def decoded(body: bytes, content_type: str) -> str:
    r"""
    Return a body as text: by its mark, as UTF-8, as declared, or in the likeliest encoding.

    What is UTF-8 beyond ASCII is so by no accident, whatever a page declares; a few damaged
    characters make it no other encoding.

    >>> decoded("<meta charset='iso-8859-1'>Zürich".encode(), "text/html")[-6:]
    'Zürich'
    >>> decoded(b"Z\xc3\xbcrich, K\xc3\xb6ln, \xff", "text/plain; charset=utf-8")[:12]
    'Zürich, Köln'
    """
    marked, mark = read_bom(body)
    if marked and mark:
        return body[len(mark) :].decode(marked, "replace")
    declared = http_content_type_encoding(content_type) or html_body_declared_encoding(body)
    likely = [declared, "utf-8"] if body.isascii() else ["utf-8", declared]
    for encoding in filter(None, likely):
        try:
            return body.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    mended = body.decode("utf-8", "replace")
    n_damaged = mended.count("\ufffd")
    if n_damaged < sum(not char.isascii() for char in mended) - n_damaged:
        return mended
    best = from_bytes(body[:LOOKED_AT]).best()
    return body.decode(best.encoding if best else "utf-8", "replace")
