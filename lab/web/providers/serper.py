"""Serper: Google's results by an API."""

from collections.abc import Sequence

import httpx
from pydantic import BaseModel

from lab.protocols import SearchFinding
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.web.providers.asking import ask, day_of, plain_text


class _Result(BaseModel):
    link: str
    title: str = ""
    snippet: str | None = None
    date: str | None = None


class _Answer(BaseModel):
    organic: list[_Result]


class Serper:
    """Serper, by a key of the operator's."""

    kind = SearchProviderKind.serper

    def __init__(self, config: SearchConfig, http: httpx.AsyncClient) -> None:
        self._url = config.serper_url
        self._key = config.serper_key
        self._http = http

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """Return what it finds, as `SearchProvider` says."""
        request = self._http.build_request(
            "POST",
            self._url,
            json={"q": query, "num": limit},
            headers={"X-API-KEY": self._key.get_secret_value() if self._key else ""},
        )
        refusal = "check `search.serper_key`"
        answer = await ask(self._http, request, self.kind, _Answer, refusal=refusal)
        return [
            SearchFinding(
                found.link,
                plain_text(found.title),
                plain_text(found.snippet),
                day_of(found.date),
            )
            for found in answer.organic[:limit]
        ]
