"""The web: pages that the lab reads and keeps, and searches."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from uuid import UUID

from lab.client.http import Http
from lab.client.requests import checked
from lab.errors import BlockedAddressError, FetchError, ServiceError
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.schemas.web_failure import WebFailure
from lab.schemas.web_failure_reason import WebFailureReason
from lab.schemas.web_outcome import WebOutcome
from lab.schemas.web_page import WebPage
from lab.schemas.web_read_request import WebReadRequest
from lab.schemas.web_search_request import WebSearchRequest
from lab.schemas.web_search_response import WebSearchResponse

PATH = "/v1/web"


class Web:
    """The web, and the pages of it that the user has read."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def search(
        self,
        query: str,
        *,
        limit: int = 10,
        providers: Sequence[SearchProviderKind | str] | None = None,
        wordings: int = 0,
    ) -> WebSearchResponse:
        """
        Return pages that bear on a query, the nearest first, and which providers failed.

        Parameters
        ----------
        query : str
            What to look for.
        limit : int
            Most pages to return.
        providers : sequence of str, optional
            Whom to ask, the first choice first; by default as the operator set it. `local` looks
            through the pages that the user has read.
        wordings : int
            Look for so many further wordings too, which a model writes.

        Raises
        ------
        SearchError
            If all providers fail.
        ConfigError
            If one lacks a setting.
        InputError
            If further wordings are asked for of a model that writes none.
        """
        body = checked(
            WebSearchRequest, query=query, limit=limit, providers=providers, wordings=wordings
        )
        return await self._http.fetch("POST", f"{PATH}/search", WebSearchResponse, body)

    async def read(
        self,
        urls: Sequence[str],
        *,
        max_pages: int | None = None,
        max_depth: int = 0,
        offline: bool = False,
    ) -> AsyncGenerator[WebOutcome, None]:
        """
        Yield what comes of each address as soon as it is read and kept.

        Closing the generator ends the reading.

        Parameters
        ----------
        urls : sequence of str
            Where to begin.
        max_pages : int, optional
            Most pages to read, links included; by default as many as there are `urls`.
        max_depth : int
            How many links away from `urls` to go.
        offline : bool
            Read the newest snapshots instead of the web.
        """
        body = checked(
            WebReadRequest,
            urls=list(urls),
            max_pages=max_pages,
            max_depth=max_depth,
            offline=offline,
        )
        async with aclosing(self._http.stream(f"{PATH}/read", WebOutcome, body)) as outcomes:
            async for outcome in outcomes:
                yield outcome

    async def read_page(self, url: str, *, offline: bool = False) -> WebPage:
        """
        Return a page: its main text, with title, author, day and language.

        Parameters
        ----------
        url : str
            Its address.
        offline : bool
            Read its newest snapshot instead of the web.

        Raises
        ------
        BlockedAddressError
            If the lab does not go there.
        FetchError
            If it cannot be read.
        """
        async with aclosing(self.read([url], offline=offline)) as outcomes:
            async for outcome in outcomes:
                if outcome.page is not None:
                    return outcome.page
                if outcome.failure is not None:
                    raise _error(outcome.failure)
        raise ServiceError(f"The lab ended before `{url}` was read; ask again when it is up.")

    async def pages(self, limit: int = 50, before: UUID | None = None) -> list[WebPage]:
        """Return pages that were read, newest first."""
        path = f"{PATH}/pages"
        return await self._http.fetch("GET", path, list[WebPage], limit=limit, before=before)

    async def snapshot(self, page_id: UUID) -> bytes:
        """Return the snapshot of a page: a WARC file, packed by gzip."""
        return await self._http.download(f"{PATH}/pages/{page_id}/snapshot")

    async def delete(self, page_id: UUID) -> None:
        """Delete a page with its snapshot."""
        await self._http.delete(f"{PATH}/pages/{page_id}")


def _error(failure: WebFailure) -> FetchError:
    blocked = failure.reason is WebFailureReason.blocked
    kind = BlockedAddressError if blocked else FetchError
    return kind(f"`{failure.url}` was not read. {failure.message}")
