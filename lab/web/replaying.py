"""Read pages from their snapshots, as they were read from the web, without the web."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

from lxml.etree import LxmlError
from lxml.html import document_fromstring

from lab.schemas.web_failure_reason import WebFailureReason
from lab.schemas.web_page import WebPage
from lab.web.decoding import HTML, decoded
from lab.web.links import links_of
from lab.web.pages import Content, Outcome, ReadPage, failed
from lab.web.urls import key_of
from lab.web.warc import body_of


class Snapshot(NamedTuple):
    """What is kept of a page."""

    page: WebPage
    warc: bytes


Find = Callable[[str], Awaitable[Snapshot | None]]
"""Returns what was read last at an address in its canonical form."""


class Replay:
    """
    Pages as they were when they were read last: a `PageSource`.

    Parameters
    ----------
    find : callable
        Finds snapshots.
    """

    def __init__(self, find: Find) -> None:
        self._find = find

    async def read(
        self, urls: Sequence[str], *, max_pages: int, max_depth: int
    ) -> AsyncGenerator[Outcome, None]:
        """Yield what was kept of each address, as `PageSource` says; the nearest pages first."""
        waiting = deque((url, 0) for url in dict.fromkeys(urls))
        seen = {key_of(url) for url, _ in waiting}
        left = max_pages
        while waiting:
            url, depth = waiting.popleft()
            if not left:
                if depth == 0:
                    why = "There are as many pages as were asked for (max_pages) without it."
                    yield failed(url, WebFailureReason.unread, why)
                continue
            outcome = await self._outcome(url)
            yield outcome
            if not isinstance(outcome, ReadPage):
                continue
            left -= 1
            if depth < max_depth:
                fresh = [link for link in _links(outcome) if link not in seen]
                seen.update(fresh)
                waiting.extend((link, depth + 1) for link in fresh)

    async def _outcome(self, url: str) -> Outcome:
        found = await self._find(key_of(url))
        if found is None:
            why = "You have no snapshot of it; read it once with the network."
            return failed(url, WebFailureReason.no_snapshot, why)
        page = found.page
        try:
            body, headers = body_of(found.warc)
        except ValueError as error:
            return failed(url, WebFailureReason.unreadable, f"Its snapshot is damaged ({error}).")
        if sha256(body).hexdigest() != page.sha256:
            why = "Its snapshot is damaged: it is not what was read."
            return failed(url, WebFailureReason.unreadable, why)
        content = Content(
            page.media_type,
            page.text,
            page.title,
            page.author,
            page.published_on,
            page.language,
        )
        return ReadPage(page.requested_url, page.url, page.status, headers, body, content)


def _links(page: ReadPage) -> list[str]:
    if page.content.media_type not in HTML:
        return []
    declared = dict((name.lower(), value) for name, value in page.headers).get("content-type", "")
    try:
        return list(links_of(document_fromstring(decoded(page.body, declared)), page.url))
    except (LxmlError, ValueError):  # what has no element has no link
        return []
