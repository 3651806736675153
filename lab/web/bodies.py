"""What stands in a body, whatever made its main text: for snapshots that name no hash of theirs."""

from lxml.etree import LxmlError, strip_elements
from lxml.html import HTMLParser, document_fromstring

from lab.web.decoding import HTML, PDF, decoded, media_type_of


def text_in(body: bytes, content_type: str) -> str | None:
    """
    Return all text of a body; None where it is not of markup or plain text.

    >>> text_in(b"<p>It is <b>so</b>.<script>x()</script>", "text/html")
    'It is so.'
    """
    media_type = media_type_of(body, content_type)
    if media_type == PDF:
        return None
    text = decoded(body, content_type)
    if media_type not in HTML:
        return text
    try:
        # As bytes: a text that declares its encoding is refused.
        page = document_fromstring(text.encode("utf-8", "replace"), HTMLParser(encoding="utf-8"))
    except (LxmlError, ValueError):  # what has no element says nothing
        return ""
    strip_elements(page, "script", "style", "template", with_tail=False)
    return str(page.text_content())


def says(text: str | None, quote: str) -> bool:
    r"""
    Return whether a quote stands in a text, however that is broken into lines.

    >>> says("It\n is so.", "It is so."), says("It is not so.", "It is so."), says(None, "")
    (True, False, False)
    """
    return text is not None and "".join(quote.split()) in "".join(text.split())
