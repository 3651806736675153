"""Google's Custom Search JSON API."""

from collections.abc import Sequence

import httpx
from pydantic import BaseModel

from lab.protocols import SearchFinding
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.asking import ask, plain_text

MOST = 10
"""Results of one request."""


class _Result(BaseModel):
    link: str
    title: str = ""
    snippet: str | None = None


class _Answer(BaseModel):
    kind: str
    items: list[_Result] = []


class Google:
    """Google, by a key and a search engine of the operator's."""

    kind = SearchProviderKind.google

    def __init__(self, config: SearchConfig, http: httpx.AsyncClient) -> None:
        self._url = config.google_url
        self._key = config.google_key
        self._engine = config.google_engine
        self._http = http

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """Return what it finds, as `SearchProvider` says."""
        request = self._http.build_request(
            "GET",
            self._url,
            params={"cx": self._engine, "q": query, "num": min(limit, MOST)},
            # Not as a parameter, which addresses in logs would show.
            headers={"X-Goog-Api-Key": self._key.get_secret_value() if self._key else ""},
        )
        refusal = "check `search.google_key` and `search.google_engine`"
        answer = await ask(self._http, request, self.kind, _Answer, refusal=refusal)
        return [
            SearchFinding(found.link, plain_text(found.title), plain_text(found.snippet))
            for found in answer.items[:limit]
        ]
