"""The spider: asks for pages, follows links, and tells what came of each."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Self

from scrapy import Request, Spider, signals
from scrapy.crawler import Crawler
from scrapy.exceptions import CloseSpider, StopDownload
from scrapy.http import Headers, Response
from twisted.python.failure import Failure

from lab.errors import cut
from lab.schemas.web_failure_reason import WebFailureReason
from lab.web.content import Found, UnreadableError, read_content
from lab.web.decoding import media_type_of
from lab.web.failures import content_type, failure_of, not_read
from lab.web.pages import Outcome, ReadPage, failed
from lab.web.records import Job
from lab.web.urls import LONGEST, key_of

ASKED: Final = "requested_url"
"""Where a request keeps the address that it began with, through all redirects."""

Tell = Callable[[Outcome], None]


class PageSpider(Spider):
    """
    Reads pages from some addresses on.

    Parameters
    ----------
    job : Job
        What to read, and how far to go.
    tell : callable
        Called with each outcome as soon as there is one.
    """

    name = "pages"

    def __init__(self, job: Job, tell: Tell) -> None:
        super().__init__()
        self._job = job
        self._tell = tell
        self._left = job.max_pages
        self._seen = {key_of(url) for url in job.urls}

    @classmethod
    def from_crawler(cls, crawler: Crawler, *args: Any, **kwargs: Any) -> Self:
        """Return a spider that looks at headers before it takes a body."""
        spider = super().from_crawler(crawler, *args, **kwargs)
        crawler.signals.connect(spider.look_at_headers, signal=signals.headers_received)
        return spider

    async def start(self) -> AsyncIterator[Request]:
        """Yield the first requests."""
        for url in self._job.urls:
            try:
                if len(key_of(url)) > LONGEST:
                    raise ValueError(f"it has more than {LONGEST} characters")
                yield self._request(url)
            except ValueError as error:
                self._tell(failed(url, WebFailureReason.address, f"It is no address ({error})."))

    def look_at_headers(self, headers: Headers, request: Request) -> None:
        """Take in no body of a kind that is not read."""
        declared = (headers.get("Content-Type") or b"").decode("latin-1")
        if ASKED not in request.meta or not declared or "Location" in headers:
            return
        if media_type_of(b"", declared) not in self._job.pages.media_types:
            raise StopDownload(fail=True)

    def parse(self, response: Response, **kwargs: Any) -> Iterator[Request]:
        """Tell what a page says; yield requests for those that it links to."""
        if not self._left:  # it came after the last one that is wanted
            return
        wants_links = response.meta.get("depth", 0) < self._job.max_depth
        try:
            found = self._found(response, links=wants_links)
        except UnreadableError as error:
            self._tell(failed(response.meta[ASKED], error.reason, str(error)))
            return
        self._left -= 1
        self._tell(_page(response, found))
        if not self._left:
            raise CloseSpider
        for url in found.links:
            if url not in self._seen:
                self._seen.add(url)
                yield self._request(url)

    def fail(self, failure: Failure) -> None:
        """Tell why a page was not read."""
        request: Request = failure.request  # type: ignore[attr-defined]
        self._tell(failed(request.meta[ASKED], *failure_of(failure, self._job)))

    def _found(self, response: Response, *, links: bool) -> Found:
        declared = content_type(response)
        _check_answer(response)
        kinds = self._job.pages.media_types
        if (kind := media_type_of(response.body, declared)) not in kinds:
            raise UnreadableError(WebFailureReason.media_type, not_read(kind, kinds))
        web = self._job.web
        found = read_content(
            response.body, declared, response.url, timeout_s=web.timeout_s, links=links
        )
        if len(found.content.text) > web.max_bytes:  # as that of a PDF that is packed well
            why = f"Its text has more than {web.max_bytes:,} characters (web.max_bytes)."
            raise UnreadableError(WebFailureReason.too_large, why)
        return found

    def _request(self, url: str) -> Request:
        # Not filtered by Scrapy, which takes no account of what an address began as.
        return Request(
            url, callback=self.parse, errback=self.fail, meta={ASKED: url}, dont_filter=True
        )


def _check_answer(response: Response) -> None:
    """Raise `UnreadableError` for an answer that is no page."""
    if 300 <= response.status < 400:
        target = (response.headers.get("Location") or b"").decode("latin-1")
        why = f"It leads to `{cut(target)}`, which is no address of the web."
        raise UnreadableError(WebFailureReason.redirects, why)
    if not 200 <= response.status < 300:
        why = f"Its server answered with status {response.status}."
        raise UnreadableError(WebFailureReason.status, why)
    if len(response.url) > LONGEST:
        why = f"The address that it leads to has more than {LONGEST} characters."
        raise UnreadableError(WebFailureReason.address, why)


def _page(response: Response, found: Found) -> ReadPage:
    return ReadPage(
        requested_url=response.meta[ASKED],
        url=response.url,
        status=response.status,
        headers=tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in response.headers.items()
            for value in values
        ),
        body=response.body,
        content=found.content,
    )
