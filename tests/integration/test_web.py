"""What a person does on the web: read pages, find them again, search, replay, delete."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from threading import Event
from zipfile import ZipFile

import pytest
from warcio.archiveiterator import ArchiveIterator

from lab.client import Lab, connect
from lab.db import Database
from lab.errors import BlockedAddressError, FetchError, InputError, NotFoundError, SearchError
from lab.schemas.search_provider_kind import SearchProviderKind as Kind
from lab.schemas.web_failure_reason import WebFailureReason as Why
from lab.schemas.web_outcome import WebOutcome
from tests.api_server import Api, ann, bob, running_api
from tests.peer_server import Peer, Reply, running_peer, said
from tests.stack import LAB
from tests.web import Asked, LocalWeb, Page, Site
from tests.web.server import Handler
from tests.web.sites import SAID, article, news

__all__ = ["ann", "bob"]

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"
QUESTION = "When was the lighthouse of Norderhaven lit first?"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = news()
    made.answers["/copy"] = made.answers["/lighthouse"]
    made.answers["/missing"] = Page("gone", status=404)
    with LocalWeb(made):
        yield made


@pytest.fixture(scope="module")
async def peer() -> AsyncIterator[Peer]:
    async with running_peer() as peer:
        models = {"data": [{"id": "big", "max_model_len": 4096}]}
        peer.answers["/v1/models"] = [Reply(pieces=[json.dumps(models)])]
        yield peer


@pytest.fixture(scope="module")
async def web_app(
    site: Site, peer: Peer, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    endpoint = {"name": "there", "url": f"{peer.url}/v1", "kind": "vllm", "retries": 0}
    variables = {
        "LAB_REMOTES_ENDPOINTS": json.dumps([endpoint]),
        "LAB_DATA_FOLDER": str(tmp_path_factory.mktemp("web")),
        "LAB_WEB_ALLOWED": site.address,
        "LAB_PAGES_HOST_DELAY_S": "0",
        "LAB_PAGES_MAX_PAGES": "20",
        "LAB_SEARCH_SEARXNG_URL": site.url("/no-searxng"),
    }
    async with running_api(database_url, **variables) as api:
        yield api


@pytest.fixture
async def lab(web_app: Api, database: Database, ann: str) -> AsyncIterator[Lab]:
    async with connect(web_app.url, ann) as lab:
        yield lab


async def read(lab: Lab, *urls: str, **options: object) -> list[WebOutcome]:
    return [outcome async for outcome in lab.web.read(urls, **options)]  # type: ignore[arg-type]


async def test_a_page_is_read_kept_found_again_and_deleted(lab: Lab, site: Site) -> None:
    page = await lab.read_page(site.url("/lighthouse?utm_source=mail"))
    again = await lab.read_page(site.url("/lighthouse"))
    found = await lab.search_web(QUESTION)
    (listed,) = await lab.web.pages()
    await lab.web.delete(page.id)
    gone = await lab.search_web(QUESTION)

    assert SAID in page.text
    assert (page.title, page.author, page.published_on) == (
        *("The lighthouse", "Ann Berg"),
        "2026-03-01",
    )
    assert (page.url, page.language) == (site.url("/lighthouse"), "en")
    assert (again.id, again.created_at) == (page.id, page.created_at)
    assert again.read_at > page.read_at
    assert listed == again
    (hit,) = found.hits
    assert (hit.url, hit.title, hit.providers) == (page.url, "The lighthouse", [Kind.local])
    assert "1887" in hit.snippet
    assert (gone.hits, gone.asked, gone.failures) == ([], [Kind.local], [])


async def test_what_was_read_replays_bit_for_bit_without_the_web(lab: Lab, site: Site) -> None:
    live = await read(lab, site.url("/"), max_pages=10, max_depth=1)
    n_asked = len(site.asked)

    replayed = await read(lab, site.url("/"), max_pages=10, max_depth=1, offline=True)
    twice = await read(lab, site.url("/"), max_pages=10, max_depth=1, offline=True)

    kept = {one.page.url: one.page for one in live if one.page}
    assert len(kept) == 4
    assert {one.page.url: one.page for one in replayed if one.page} == kept
    assert twice == replayed
    assert {one.failure.reason for one in replayed if one.failure} == {Why.no_snapshot}
    assert len(site.asked) == n_asked
    page = kept[site.url("/paper.pdf")]
    record = next(iter(ArchiveIterator(BytesIO(await lab.web.snapshot(page.id)))))
    assert record.content_stream().read() == site.answers["/paper.pdf"].content  # type: ignore[union-attr]
    assert record.rec_headers.get_header("WARC-Target-URI") == page.url
    assert record.rec_headers.get_header("WARC-Payload-Digest") == f"sha256:{page.sha256}"


async def test_a_page_that_changed_is_another_one_and_the_last_is_replayed(
    lab: Lab, site: Site
) -> None:
    url = site.url("/changing")
    texts = ("It rains in the harbour today. ", "The sun shines on the harbour now. ")
    seen = []
    for text in (*texts, texts[0]):
        site.answers["/changing"] = Page(article("Weather", text * 8))
        seen.append(await lab.read_page(url))

    replayed = await lab.read_page(url, offline=True)

    assert seen[0].id == seen[2].id != seen[1].id
    assert replayed == seen[2]


async def test_copies_of_a_page_are_one_hit(lab: Lab, site: Site) -> None:
    await read(lab, site.url("/lighthouse"), site.url("/copy"), site.url("/harbour"))

    found = await lab.search_web("lighthouse harbour boats", limit=5)

    assert sorted(hit.title for hit in found.hits) == ["The harbour", "The lighthouse"]
    assert all(0 <= hit.score <= 1 for hit in found.hits)


async def test_a_provider_that_fails_is_named_beside_what_others_found(
    lab: Lab, site: Site
) -> None:
    await lab.read_page(site.url("/lighthouse"))

    found = await lab.search_web(QUESTION, providers=[Kind.searxng, Kind.local])
    with pytest.raises(SearchError, match="`searxng` failed: it answered 404"):
        await lab.search_web(QUESTION, providers=["searxng"])
    with pytest.raises(InputError, match=r"needs `search.brave_key`"):
        await lab.search_web(QUESTION, providers=["brave"])

    assert [hit.title for hit in found.hits] == ["The lighthouse"]
    assert found.asked == [Kind.local]
    (failure,) = found.failures
    assert failure.provider is Kind.searxng


async def test_further_wordings_of_a_query_are_looked_for_too(
    lab: Lab, site: Site, peer: Peer
) -> None:
    await read(lab, site.url("/lighthouse"), site.url("/harbour"))
    written = {"wordings": ["lighthouse ", "Harbour  of Norderhaven", QUESTION.lower(), "boats"]}
    peer.answers[CHAT] = [said(json.dumps(written)), said("I cannot.")]
    await lab.config.set("roles.analysis", "there/big")

    found = await lab.search_web(QUESTION, wordings=4)
    with pytest.raises(InputError, match=r"`there/big` wrote no wordings .* no list of wordings"):
        await lab.search_web(QUESTION, wordings=1)
    await lab.config.reset("roles.analysis")
    with pytest.raises(InputError, match=r"`default` wrote no wordings .* demonstrates the lab"):
        await lab.search_web(QUESTION, wordings=1)

    assert found.queries == [QUESTION, "lighthouse", "Harbour of Norderhaven", "boats"]
    assert [hit.title for hit in found.hits] == ["The lighthouse", "The harbour"]
    assert found.hits[0].score > found.hits[1].score


async def test_what_cannot_be_read_is_a_clear_error(lab: Lab, site: Site) -> None:
    with pytest.raises(BlockedAddressError, match=r"169\.254\.169\.254` is no public address"):
        await lab.read_page("http://169.254.169.254/latest/meta-data/")
    with pytest.raises(FetchError, match="status 404"):
        await lab.read_page(site.url("/missing"))
    with pytest.raises(FetchError, match="You have no snapshot of it"):
        await lab.read_page(site.url("/never-read"), offline=True)
    for odd in ("", "\x00", "http://[\x00", "http://[", "javascript:x", "http://a.test:x/"):
        with pytest.raises(FetchError, match="You have no snapshot of it"):
            await lab.read_page(odd, offline=True)
    with pytest.raises(InputError, match=r"`max_pages` is 21, and 20 is the most"):
        await read(lab, site.url("/"), max_pages=21)

    assert await lab.web.pages() == []


async def test_pages_are_ones_own(
    lab: Lab, web_app: Api, site: Site, bob: str, database: Database
) -> None:
    page = await lab.read_page(site.url("/lighthouse"))
    async with connect(web_app.url, bob) as his:
        found = await his.search_web(QUESTION)
        listed = await his.web.pages()
        with pytest.raises(NotFoundError):
            await his.web.snapshot(page.id)
        with pytest.raises(NotFoundError):
            await his.web.delete(page.id)
        with pytest.raises(FetchError, match="You have no snapshot"):
            await his.read_page(page.url, offline=True)

    assert (found.hits, listed) == ([], [])


async def test_an_export_holds_pages_and_snapshots(lab: Lab, site: Site) -> None:
    page = await lab.read_page(site.url("/lighthouse"))

    with ZipFile(BytesIO(await lab.export())) as archive:
        (row,) = map(json.loads, archive.read("web_pages.jsonl").splitlines())
        warc = archive.read(f"files/{page.id}.warc.gz")

    assert (row["url"], row["text"]) == (page.url, page.text)
    assert warc == await lab.web.snapshot(page.id)


async def test_a_search_holds_no_model_while_others_look(lab: Lab, site: Site) -> None:
    is_asked, may_answer = Event(), Event()

    def slow(_: Asked, __: Handler) -> Page:
        is_asked.set()
        assert may_answer.wait(20)
        return Page("{}", "application/json")

    async def n_leases() -> int:
        return sum(len(one.leases) for one in (await lab.residents.report()).models)

    await lab.read_page(site.url("/lighthouse"))
    site.answers["/no-searxng/search"] = slow
    try:
        async with asyncio.timeout(10):
            searching = asyncio.create_task(
                lab.search_web(QUESTION, providers=[Kind.searxng, Kind.local])
            )
            assert await asyncio.to_thread(is_asked.wait, 10)
            while await n_leases():
                await asyncio.sleep(0.05)
        is_there = not searching.done()
    finally:
        may_answer.set()
        del site.answers["/no-searxng/search"]
    found = await searching

    assert is_there
    assert [hit.url for hit in found.hits] == [site.url("/lighthouse")]


async def test_the_command_line_reads_and_searches(
    web_app: Api, database: Database, ann: str, site: Site, tmp_path: Path
) -> None:
    environ = {**os.environ, "LAB_API_URL": web_app.url, "LAB_API_KEY": ann, "COLUMNS": "300"}

    async def lab(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            LAB, "web", *arguments, env=environ, stdout=-1, stderr=-1
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    code, text, notes = await lab("read", site.url("/lighthouse"), site.url("/missing"))
    _, table, _ = await lab("search", QUESTION)
    _, rows, _ = await lab("pages", "--json")
    (page,) = json.loads(rows)
    file = tmp_path / "page.warc.gz"
    await lab("snapshot", page["id"], str(file))
    failed, _, why = await lab("search", QUESTION, "--provider", "searxng")

    assert code == 1
    assert SAID in text
    assert "The lighthouse; Ann Berg; 2026-03-01; en" in notes
    assert f"Error: `{site.url('/missing')}` was not read." in notes
    assert site.url("/lighthouse") in table
    assert file.read_bytes()[:2] == b"\x1f\x8b"
    assert (failed, why.strip().startswith("Error: The search by `searxng` failed")) == (1, True)
