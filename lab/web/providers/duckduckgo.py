"""DuckDuckGo, by the kept library that speaks to it as browsers do."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import httpx

from lab.errors import SearchError
from lab.protocols import SearchFinding
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.asking import plain_text, search_error


class DuckDuckGo:
    """DuckDuckGo's page of results; it needs no key, and limits those who ask often."""

    kind = SearchProviderKind.duckduckgo

    def __init__(self, config: SearchConfig, http: httpx.AsyncClient) -> None:
        self._url = config.duckduckgo_url
        self._timeout_s = config.timeout_s

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """Return what it finds, as `SearchProvider` says."""
        # The library waits in a thread, and no longer than its own limit of time.
        found = await asyncio.to_thread(self._search, query)
        return [
            SearchFinding(one.href, plain_text(one.title), plain_text(one.body))
            for one in found[:limit]
        ]

    def _search(self, query: str) -> list[Any]:
        # It brings a browser's TLS along, which takes a while to import.
        from ddgs.engines.duckduckgo import Duckduckgo  # noqa: PLC0415
        from ddgs.exceptions import DDGSException  # noqa: PLC0415

        engine = Duckduckgo(timeout=math.ceil(self._timeout_s))
        payload = engine.build_payload(
            query=query, region="wt-wt", safesearch="moderate", timelimit=None
        )
        try:
            response = engine.http_client.request("POST", self._url, data=payload)
        except DDGSException as error:
            raise search_error(self.kind, f"its server does not answer ({error})") from error
        if response.status_code != 200:
            raise self._refused(response.status_code)
        return list(engine.post_extract_results(engine.extract_results(response.text)))

    def _refused(self, status: int) -> SearchError:
        return search_error(
            self.kind, f"it answered {status}: it takes this lab for asking too often"
        )
