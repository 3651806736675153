"""Pages of the web as the lab reads them: a web of its own, real HTTP, in a child process."""

import os
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.schemas.pages_config import PagesConfig
from lab.schemas.web_config import WebConfig
from lab.schemas.web_failure_reason import WebFailureReason as Why
from lab.web import Crawl, Outcome, ReadPage
from tests.web import Asked, LocalWeb, Page, Site
from tests.web.server import Handler
from tests.web.sites import SAID, article, encodings, news, traps

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[Site, Site, Site]]:
    made = news(), encodings(), traps()
    with LocalWeb(*made):
        yield made


def crawl(*sites: Site, **settings: Any) -> Crawl:
    """Return a reader of some hosts; the others of the machine stay closed to it."""
    allowed = [site.address for site in sites]
    web = WebConfig.model_validate(
        {"allowed": allowed, "timeout_s": 1.5, "max_bytes": 1_000_000}
        | {key: settings.pop(key) for key in list(settings) if key in WebConfig.model_fields}
    )
    return Crawl(web, PagesConfig.model_validate({"host_delay_s": 0, **settings}))


async def all_of(
    reading: AsyncGenerator[Outcome, None],
) -> dict[str, Outcome]:
    """Return outcomes by their addresses; each has one."""
    found: dict[str, Outcome] = {}
    async with aclosing(reading):
        async for outcome in reading:
            asked = outcome.requested_url if isinstance(outcome, ReadPage) else outcome.url
            assert asked not in found
            found[asked] = outcome
    return found


def reasons(found: dict[str, Outcome], site: Site) -> dict[str, Why | str]:
    """Return why each page of a host was not read, or how it is called."""
    return {
        url.removeprefix(f"http://{site.address}"): outcome.content.title or outcome.content.text
        if isinstance(outcome, ReadPage)
        else outcome.reason
        for url, outcome in found.items()
    }


async def test_a_site_is_read_with_its_links_and_its_wishes(
    sites: tuple[Site, Site, Site],
) -> None:
    site = sites[0]
    site.asked.clear()
    reader = crawl(site, host_delay_s=0.1, host_concurrency=1, user_agent="lab-test (tests)")

    found = await all_of(reader.read([site.url("/")], max_pages=10, max_depth=1))

    assert reasons(found, site) == {
        "/": "Links",
        "/lighthouse": "The lighthouse",
        "/harbour": "The harbour",
        "/private/diary": Why.robots,
        "/paper.pdf": f"Of ships and lamps.\n\n{SAID}",
        **dict.fromkeys(("/news", "/about", "/most"), Why.status),
    }
    page = found[site.url("/lighthouse")]
    assert isinstance(page, ReadPage)
    assert SAID in page.content.text
    assert "All the news" not in page.content.text
    assert "Cookie settings" not in page.content.text
    assert (page.content.author, page.content.published_on) == ("Ann Berg", "2026-03-01")
    assert (page.content.language, page.content.media_type) == ("en", "text/html")
    assert page.body == site.answers["/lighthouse"].content  # type: ignore[union-attr]
    assert site.paths()[0] == "/robots.txt"
    assert "/private/diary" not in site.paths()
    assert {asked.headers["User-Agent"] for asked in site.asked} == {"lab-test (tests)"}
    times = [asked.at for asked in site.asked]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.08


async def test_an_operator_says_whether_robots_count_and_which_kinds_are_read(
    sites: tuple[Site, Site, Site],
) -> None:
    site = sites[0]
    reader = crawl(site, obey_robots=False, media_types=["text/html"])
    asked = [site.url(path) for path in ("/private/diary", "/paper.pdf")]

    found = await all_of(reader.read(asked, max_pages=2, max_depth=0))

    assert reasons(found, site) == {"/private/diary": "Diary", "/paper.pdf": Why.media_type}


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"concurrency": 3, "host_concurrency": 16}, 3),
        ({"concurrency": 16, "host_concurrency": 2}, 2),
    ],
)
async def test_no_more_pages_are_asked_for_at_once_than_is_set(
    limits: dict[str, int], most: int
) -> None:
    lock, counts, n_busy = threading.Lock(), list[int](), 0

    def answer(asked: Asked, _: Handler) -> Page:
        nonlocal n_busy
        with lock:
            n_busy += 1
            counts.append(n_busy)
        time.sleep(0.15)
        with lock:
            n_busy -= 1
        return Page(article(asked.path, f"This is page {asked.path} of many. " * 8))

    site = Site({"/robots.txt": Page("", "text/plain"), "/pages/*": answer})
    with LocalWeb(site):
        urls = [site.url(f"/pages/{n}") for n in range(12)]
        found = await all_of(crawl(site, **limits).read(urls, max_pages=12, max_depth=0))

    assert all(isinstance(outcome, ReadPage) for outcome in found.values())
    assert max(counts) == most


async def test_each_trap_has_its_outcome_and_stops_no_other_page(
    sites: tuple[Site, Site, Site],
) -> None:
    site = sites[2]
    paths = [path for path in site.answers if not path.endswith("*") and path[-1:].isalpha()]
    others = ["http://169.254.169.254/", "http://127.0.0.9:8000/", "ftp://127.0.0.1/x"]
    others += ["http://0x7f000009:8000/", "file:///etc/passwd", "no address", "http://u:p@a.org/"]
    reader = crawl(site, host_concurrency=16, max_redirects=3)

    found = await all_of(reader.read([*map(site.url, paths), *others], max_pages=100, max_depth=0))

    seen = reasons(found, site)
    assert {path: seen[path] for path in paths} == {
        "/loop": Why.redirects,
        "/far": Why.redirects,
        "/moved": "Good",
        "/good": "Good",
        "/endless": Why.too_large,
        "/dripping": Why.timeout,
        "/silent": Why.timeout,
        "/broken-off": Why.unreachable,
        "/large": Why.too_large,
        "/bomb": Why.too_large,
        "/packed": "Packed",
        "/film": Why.media_type,
        "/lies.pdf": Why.unreadable,
        "/broken.pdf": Why.unreadable,
        "/empty": Why.empty,
        "/nothing": Why.empty,
        "/deep": seen["/deep"],
        "/gone": Why.status,
        "/failing": Why.status,
        "/inside": Why.blocked,
        "/file": Why.redirects,
    }
    assert [seen[other] for other in others] == [
        *(Why.blocked, Why.blocked, Why.address),
        *(Why.blocked, Why.address, Why.address, Why.address),
    ]
    moved = found[site.url("/moved")]
    assert isinstance(moved, ReadPage)
    assert moved.url == site.url("/good")


async def test_a_calendar_without_end_ends_at_the_limits(sites: tuple[Site, Site, Site]) -> None:
    site = sites[2]
    reader = crawl(site)
    start = site.url("/day/0")

    by_pages = await all_of(reader.read([start], max_pages=4, max_depth=20))
    by_depth = await all_of(reader.read([start], max_pages=50, max_depth=2))
    late = site.url("/good")
    beyond = await all_of(reader.read([start, late], max_pages=1, max_depth=0))

    assert days(by_pages) == [f"Day {day}" for day in range(4)]
    assert days(by_depth) == [f"Day {day}" for day in range(3)]
    assert set(reasons(beyond, site).values()) in ({"Day 0", Why.unread}, {"Good", Why.unread})


def days(found: dict[str, Outcome]) -> list[str | None]:
    return [page.content.title for page in found.values() if isinstance(page, ReadPage)]


async def test_every_encoding_is_read(sites: tuple[Site, Site, Site]) -> None:
    site = sites[1]
    paths = list(site.answers)

    found = await all_of(crawl(site).read([*map(site.url, paths)], max_pages=9, max_depth=0))

    texts = {path: found[site.url(path)] for path in paths if path != "/bytes"}
    for path, page in texts.items():
        assert isinstance(page, ReadPage), path
        assert "Süßigkeiten" in page.content.text, path
        assert page.content.title == "Öl", path


async def test_pages_come_as_they_are_read_and_a_reader_ends_at_once(
    sites: tuple[Site, Site, Site],
) -> None:
    site = sites[2]
    reader = crawl(site, timeout_s=60)
    reading = reader.read([site.url("/good"), site.url("/silent")], max_pages=2, max_depth=0)

    first = await anext(reading)
    (child,) = children()
    await reading.aclose()

    assert isinstance(first, ReadPage)
    assert not child.is_running()


async def test_a_reader_that_dies_says_so(sites: tuple[Site, Site, Site]) -> None:
    site = sites[2]
    reading = crawl(site).read([site.url("/good"), site.url("/silent")], max_pages=2, max_depth=0)
    first = await anext(reading)
    (child,) = children()

    child.kill()
    rest = [outcome async for outcome in reading]

    assert isinstance(first, ReadPage)
    assert [getattr(outcome, "reason", None) for outcome in rest] == [Why.crashed]
    assert "exit status -9" in rest[0].message  # type: ignore[union-attr]


async def test_a_reading_has_a_time_of_its_own(sites: tuple[Site, Site, Site]) -> None:
    url = sites[2].url("/dripping")
    web = WebConfig(allowed=[sites[2].address], timeout_s=60)

    found = await all_of(Crawl(web, PagesConfig(timeout_s=2)).read([url], max_pages=2, max_depth=0))

    assert reasons(found, sites[2]) == {"/dripping": Why.unread}
    assert children() == []


def children() -> list[psutil.Process]:
    """Return the readers of this process."""
    return [
        child for child in psutil.Process(os.getpid()).children() if "lab.web" in child.cmdline()
    ]


async def test_the_child_knows_nothing_of_the_lab(
    sites: tuple[Site, Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_SEARCH_BRAVE_KEY", "secret")
    site = sites[2]
    reading = crawl(site).read([site.url("/good"), site.url("/silent")], max_pages=2, max_depth=0)
    await anext(reading)
    (child,) = children()

    environment = Path(f"/proc/{child.pid}/environ").read_bytes()
    await reading.aclose()

    assert b"secret" not in environment
    assert environment.split(b"=")[0] == b"PYTHONPATH"
