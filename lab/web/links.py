"""The links of a page."""

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from lxml.html import HtmlElement

from lab.web.urls import LONGEST, canonical


def links_of(tree: HtmlElement, url: str) -> Iterator[str]:
    """
    Yield the addresses that a page links to, each once and in its order.

    Parameters
    ----------
    tree : HtmlElement
        The page.
    url : str
        Its address.

    Notes
    -----
    Left out are those that a page asks to be left alone (`rel=nofollow`, `<meta name=robots>`), and
    what is no page: other schemes, and what is longer than an address may be.
    """
    if any("nofollow" in found.lower() for found in tree.xpath(_ROBOTS)):
        return
    base = urljoin(url, next(iter(tree.xpath("//base/@href")), ""))
    seen = {canonical(url)}
    for element in tree.iter("a", "area"):
        target = element.get("href", "").strip()
        if not target or "nofollow" in element.get("rel", "").lower():
            continue
        if (found := _address(base, target)) and found not in seen:
            seen.add(found)
            yield found


_ROBOTS = "//meta[translate(@name, 'ROBTS', 'robts') = 'robots']/@content"


def _address(base: str, target: str) -> str | None:
    try:
        address = urljoin(base, target)
        if urlsplit(address).scheme not in {"http", "https"} or len(address) > LONGEST:
            return None
        return canonical(address)
    except ValueError:  # no address at all, as `http://[`
        return None
