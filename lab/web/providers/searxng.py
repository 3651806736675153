"""SearXNG: a metasearch engine of one's own, asked for JSON."""

from collections.abc import Sequence
from typing import Any

import httpx
from pydantic import BaseModel

from lab.protocols import SearchFinding
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.asking import ask, day_of, plain_text, search_error


class _Result(BaseModel):
    url: str
    title: str = ""
    content: str | None = None
    publishedDate: str | None = None


class _Answer(BaseModel):
    results: list[_Result]
    unresponsive_engines: list[list[Any]] = []


class Searxng:
    """A SearXNG of the operator's."""

    kind = SearchProviderKind.searxng

    def __init__(self, config: SearchConfig, http: httpx.AsyncClient) -> None:
        self._url = f"{(config.searxng_url or '').rstrip('/')}/search"
        self._http = http

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """Return what its engines find, as `SearchProvider` says."""
        request = self._http.build_request("GET", self._url, params={"q": query, "format": "json"})
        refusal = "its settings have to allow the format `json` (`search.formats`)"
        answer = await ask(self._http, request, self.kind, _Answer, refusal=refusal)
        if not answer.results and answer.unresponsive_engines:
            engines = ", ".join(f"{name}: {why}" for name, why, *_ in answer.unresponsive_engines)
            raise search_error(self.kind, f"its engines do not answer ({engines})")
        return [
            SearchFinding(
                found.url,
                plain_text(found.title),
                plain_text(found.content),
                day_of(found.publishedDate),
            )
            for found in answer.results[:limit]
        ]
