"""Brave's Search API."""

from collections.abc import Sequence

import httpx
from pydantic import BaseModel

from lab.protocols import SearchFinding
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.asking import ask, day_of, plain_text

MOST = 20
"""Results of one request."""


class _Result(BaseModel):
    url: str
    title: str = ""
    description: str | None = None
    page_age: str | None = None


class _Web(BaseModel):
    results: list[_Result] = []


class _Answer(BaseModel):
    type: str
    web: _Web | None = None


class Brave:
    """Brave, by a key of the operator's."""

    kind = SearchProviderKind.brave

    def __init__(self, config: SearchConfig, http: httpx.AsyncClient) -> None:
        self._url = config.brave_url
        self._key = config.brave_key
        self._http = http

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """Return what it finds, as `SearchProvider` says."""
        request = self._http.build_request(
            "GET",
            self._url,
            params={"q": query, "count": min(limit, MOST), "text_decorations": "false"},
            headers={
                "Accept": "application/json",
                "X-Subscription-Token": self._key.get_secret_value() if self._key else "",
            },
        )
        refusal = "check `search.brave_key`"
        answer = await ask(self._http, request, self.kind, _Answer, refusal=refusal)
        return [
            SearchFinding(
                found.url,
                plain_text(found.title),
                plain_text(found.description),
                day_of(found.page_age),
            )
            for found in (answer.web.results if answer.web else [])[:limit]
        ]
