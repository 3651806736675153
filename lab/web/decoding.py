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


def media_type_of(body: bytes, content_type: str) -> str:
    """
    Return what a body is: a PDF by its first bytes, else as the server says, else by its markup.

    >>> media_type_of(b"%PDF-1.7", "text/html"), media_type_of(b"Hi", "Text/Plain; charset=x")
    ('application/pdf', 'text/plain')
    >>> media_type_of(b"<!-- made by hand --><!DOCTYPE html><p>Hi", "")
    'text/html'
    """
    if body.startswith(b"%PDF-"):
        return PDF
    if declared := content_type.partition(";")[0].strip().lower():
        return declared
    return "text/html" if _MARKUP.search(body[:_HEAD]) else "text/plain"


def decoded(body: bytes, content_type: str) -> str:
    """Return a body as text: by its mark, as declared, as UTF-8, or in the likeliest encoding."""
    marked, mark = read_bom(body)
    if marked and mark:
        return body[len(mark) :].decode(marked, "replace")
    declared = http_content_type_encoding(content_type) or html_body_declared_encoding(body)
    for encoding in filter(None, (declared, "utf-8")):
        try:
            return body.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    best = from_bytes(body[:LOOKED_AT]).best()
    return body.decode(best.encoding if best else "utf-8", "replace")
