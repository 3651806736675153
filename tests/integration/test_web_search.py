"""Searches of the web: each provider beside a server that speaks as its API does."""

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from lab.errors import ConfigError, DatabaseError, SearchError
from lab.protocols import SearchFinding, SearchProvider
from lab.schemas.search_config import SearchConfig
from lab.schemas.search_provider_kind import SearchProviderKind as Kind
from lab.web import ask_all, merged, open_provider
from tests.web import Asked, LocalWeb, Page, Site
from tests.web.server import Handler

pytestmark = pytest.mark.integration

JSON = "application/json"
LAMPS = SearchFinding("https://lamps.test/a", "Lamps & ships", "Of lamps.", "2026-03-01")


def page(answer: object, status: int = 200) -> Page:
    return Page(json.dumps(answer), JSON, status)


def query_of(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(asked.path).query).items()}


def searxng(asked: Asked, _: Handler) -> Page:
    query = query_of(asked)
    if query.get("format") != "json":
        return Page("<html>results for people</html>")
    found = {
        "url": LAMPS.url,
        "title": LAMPS.title,
        "content": LAMPS.snippet,
        "publishedDate": "2026-03-01T00:00:00",
        "engine": "mojeek",
        "engines": ["mojeek"],
        "positions": [1],
        "score": 1.0,
        "category": "general",
    }
    silent = [["google", "too many requests"], ["bing", "timeout"]]
    body = {
        "query": query["q"],
        "number_of_results": 0,
        "results": [] if query["q"] in ("silent", "nothing") else [found, found | {"url": "u"}],
        "answers": [],
        "corrections": [],
        "infoboxes": [],
        "suggestions": [],
        "unresponsive_engines": silent if query["q"] == "silent" else [],
    }
    return page(body)


def brave(asked: Asked, _: Handler) -> Page:
    if asked.headers.get("X-Subscription-Token") != "secret-brave":
        error = {"code": "SUBSCRIPTION_TOKEN_INVALID", "detail": "The provided token is invalid."}
        return page({"type": "ErrorResponse", "error": error | {"status": 422}}, 422)
    found = {
        "type": "search_result",
        "title": "Lamps &amp; ships",
        "url": LAMPS.url,
        "description": "Of <strong>lamps</strong>.",
        "page_age": "2026-03-01T08:00:00",
        "language": "en",
        "family_friendly": True,
    }
    web = {"type": "search", "results": [found], "family_friendly": True}
    nothing = query_of(asked)["q"] == "nothing"
    asked_for = {"original": query_of(asked)["q"], "more_results_available": True}
    return page({"type": "search", "query": asked_for, **({} if nothing else {"web": web})})


def serper(asked: Asked, _: Handler) -> Page:
    if asked.headers.get("X-Api-Key") != "secret-serper":
        return page({"message": "Unauthorized.", "statusCode": 403}, 403)
    wanted = json.loads(asked.body)
    found = {"title": LAMPS.title, "link": LAMPS.url, "snippet": LAMPS.snippet, "position": 1}
    organic = [] if wanted["q"] == "nothing" else [found | {"date": "2026-03-01"}]
    parameters = {"q": wanted["q"], "type": "search", "num": wanted["num"], "engine": "google"}
    return page({"searchParameters": parameters, "organic": organic, "credits": 1})


def google(asked: Asked, _: Handler) -> Page:
    query = query_of(asked)
    if asked.headers.get("X-Goog-Api-Key") != "secret-google" or "key" in query:
        error = {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT"}
        return page({"error": error | {"errors": []}}, 400)
    if int(query["num"]) > 10:
        return page({"error": {"code": 400, "message": "Request contains an invalid num."}}, 400)
    if query["q"] == "often":
        error = {"code": 429, "message": "Quota exceeded for quota metric 'Queries'."}
        return page({"error": error | {"status": "RESOURCE_EXHAUSTED"}}, 429)
    found = {
        "kind": "customsearch#result",
        "title": LAMPS.title,
        "htmlTitle": "<b>Lamps</b>",
        "link": LAMPS.url,
        "displayLink": "lamps.test",
        "snippet": LAMPS.snippet,
    }
    body: dict[str, object] = {
        "kind": "customsearch#search",
        "searchInformation": {"totalResults": "1", "searchTime": 0.1},
    }
    return page(body if query["q"] == "nothing" else body | {"items": [found]})


def duckduckgo(asked: Asked, _: Handler) -> Page:
    query = parse_qs(asked.body.decode())["q"][0]
    if query == "often":
        return Page("<html>Unfortunately, bots use DuckDuckGo too.</html>", status=202)
    found = (
        '<div class="result results_links results_links_deep web-result">'
        '<div class="links_main links_deep result__body"><h2 class="result__title">'
        f'<a rel="nofollow" class="result__a" href="{LAMPS.url}">Lamps &amp; ships</a></h2>'
        f'<a class="result__snippet" href="{LAMPS.url}">Of <b>lamps</b>.</a></div></div>'
    )
    none = '<div class="no-results">No results.</div>'
    shown = none if query == "nothing" else found
    return Page(f'<html><body><div id="links" class="results">{shown}</div></body></html>')


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    answers = {"/search": searxng, "/brave": brave, "/serper": serper, "/google": google}
    made = Site({**answers, "/html/": duckduckgo, "/html": Page("<html>no API</html>")})
    with LocalWeb(made):
        yield made


def config(site: Site, **changes: str) -> SearchConfig:
    urls = {f"{name}_url": site.url(f"/{name}") for name in ("brave", "serper", "google")}
    keys = {f"{name}_key": f"secret-{name}" for name in ("brave", "serper", "google")}
    return SearchConfig.model_validate(
        urls
        | keys
        | {"searxng_url": site.url("/"), "duckduckgo_url": site.url("/html/")}
        | {"google_engine": "engine", "timeout_s": 2}
        | changes
    )


async def searched(kind: Kind, config: SearchConfig, query: str) -> Sequence[SearchFinding]:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await open_provider(kind, config, http).search(query, 15)


REMOTE = [kind for kind in Kind if kind is not Kind.local]


@pytest.mark.parametrize("kind", REMOTE)
async def test_a_provider_finds_what_its_api_answers(site: Site, kind: Kind) -> None:
    found = await searched(kind, config(site), "lamps")
    nothing = await searched(kind, config(site), "nothing")

    first = found[0]
    assert (first.url, first.title, first.snippet) == (LAMPS.url, LAMPS.title, LAMPS.snippet)
    if kind not in (Kind.google, Kind.duckduckgo):
        assert first.published_on == LAMPS.published_on
    assert list(nothing) == []


@pytest.mark.parametrize(
    ("kind", "query", "changes", "says"),
    [
        (
            Kind.searxng,
            "silent",
            {},
            r"its engines do not answer \(google: too many requests, bing",
        ),
        (Kind.searxng, "x", {"searxng_url": "http://127.0.0.1:9"}, "does not answer"),
        (Kind.brave, "x", {"brave_key": "wrong"}, r"answered 422 \(The provided token is invalid"),
        (
            Kind.serper,
            "x",
            {"serper_key": "wrong"},
            r"403 \(Unauthorized.\); check `search.serper_k",
        ),
        (Kind.google, "often", {}, r"429 \(Quota exceeded.*asked too often, or its quota"),
        (Kind.google, "x", {"google_url": "/html"}, "did not answer as its API does"),
        (Kind.brave, "x", {"brave_url": "/missing"}, "answered 404"),
        (Kind.duckduckgo, "often", {}, "answered 202.*too often"),
        (Kind.duckduckgo, "x", {"duckduckgo_url": "http://127.0.0.1:9"}, "does not answer"),
    ],
)
async def test_a_provider_that_fails_says_who_and_why_and_tells_no_key(
    site: Site, kind: Kind, query: str, changes: dict[str, str], says: str
) -> None:
    changes = {k: site.url(v) if v.startswith("/") else v for k, v in changes.items()}

    with pytest.raises(SearchError, match=says) as raised:
        await searched(kind, config(site, **changes), query)

    assert str(raised.value).startswith(f"The search by `{kind}` failed: ")
    assert "secret" not in str(raised.value)


async def test_a_provider_without_its_key_is_a_setting_to_make() -> None:
    with pytest.raises(ConfigError, match=r"needs `search.brave_key` \(LAB_SEARCH_BRAVE_KEY\)"):
        await searched(Kind.brave, SearchConfig(), "x")


class Stand:
    """A provider that finds what it is told to, or fails, after a while."""

    def __init__(
        self, kind: Kind, *urls: str, after_s: float = 0, error: Exception | None = None
    ) -> None:
        self.kind = kind
        self.n_asked = 0
        self._urls = urls
        self._after_s = after_s
        self._error = error

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        self.n_asked += 1
        await asyncio.sleep(self._after_s)
        if self._error:
            raise self._error
        return [SearchFinding(url, f"{self.kind} of {url}", "") for url in self._urls]


async def test_who_fails_is_late_or_finds_nothing_is_replaced_by_the_next() -> None:
    failing = Stand(Kind.brave, error=SearchError("Brave is away."))
    late = Stand(Kind.serper, "https://late.test/", after_s=30)
    empty = Stand(Kind.google)
    good = Stand(Kind.searxng, "https://a.test/")
    spare = Stand(Kind.local, "https://b.test/")
    providers: list[SearchProvider] = [failing, late, empty, good, spare]

    began = time.monotonic()
    answers = await ask_all(providers, "x", limit=5, at_once=2, timeout_s=0.3)

    assert time.monotonic() - began < 2
    assert {kind: len(found) for kind, found in answers.found.items()} == {
        Kind.google: 0,
        Kind.searxng: 1,
        Kind.local: 1,
    }
    assert [(one.provider, one.message) for one in answers.failures] == [
        (Kind.brave, "Brave is away."),
        (
            Kind.serper,
            "The search by `serper` failed: it took longer than 0.3 s (search.timeout_s).",
        ),
    ]


async def test_a_failure_of_any_kind_ends_no_other_search() -> None:
    away = Stand(Kind.local, error=DatabaseError("The database is away."))
    broken = Stand(Kind.duckduckgo, error=IndexError("a parser's"))
    good = Stand(Kind.searxng, "https://a.test/")

    answers = await ask_all([away, broken, good], "x", limit=5, at_once=1, timeout_s=1)

    assert [*answers.found] == [Kind.searxng]
    assert [one.message for one in answers.failures] == [
        "The search by `local` failed: The database is away.",
        "The search by `duckduckgo` failed: its answer cannot be read; see the lab's log.",
    ]


async def test_those_behind_the_first_that_find_are_not_asked() -> None:
    first, second, third = (Stand(kind, f"https://{kind}.test/") for kind in list(Kind)[:3])

    await ask_all([first, second, third], "x", limit=5, at_once=2, timeout_s=1)

    assert [first.n_asked, second.n_asked, third.n_asked] == [1, 1, 0]


async def test_a_search_that_all_fail_fails_and_says_why_each_did() -> None:
    providers = [
        Stand(Kind.brave, error=SearchError("One.")),
        Stand(Kind.serper, error=SearchError("Two.")),
    ]

    with pytest.raises(SearchError, match=r"^One\. Two\.$"):
        await ask_all(providers, "x", limit=5, at_once=1, timeout_s=1)


def test_a_page_that_several_find_is_one_and_comes_first() -> None:
    def found(*urls: str) -> list[SearchFinding]:
        return [SearchFinding(url, "", "") for url in urls]

    pages = merged(
        [
            (Kind.brave, found("https://a.test/", "https://b.test/x?utm_source=y#part")),
            (
                Kind.serper,
                found("http://c.test/", "https://B.test:443/x", "ftp://d.test/", "rubbish"),
            ),
        ]
    )

    assert [page.finding.url for page in pages] == [
        *("https://b.test/x?utm_source=y#part", "https://a.test/", "http://c.test/")
    ]
    assert pages[0].providers == [Kind.brave, Kind.serper]
