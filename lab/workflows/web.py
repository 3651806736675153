"""The web for people: pages read, kept with their snapshots, found again; searches."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import Final
from uuid import UUID

import httpx
import numpy as np

from lab.context import best
from lab.db import Database
from lab.errors import ConflictError, InputError, SearchError
from lab.protocols import EmbeddingPipeline, FloatArray, Pipelines, SearchFinding
from lab.schemas.config import Config
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.schemas.web_failure import WebFailure
from lab.schemas.web_hit import WebHit
from lab.schemas.web_outcome import WebOutcome
from lab.schemas.web_page import WebPage
from lab.schemas.web_read_request import WebReadRequest
from lab.schemas.web_search_request import WebSearchRequest
from lab.schemas.web_search_response import WebSearchResponse
from lab.web import (
    Answers,
    Crawl,
    Merged,
    PageSource,
    ReadPage,
    Replay,
    Snapshot,
    ask_all,
    canonical,
    merged,
    open_provider,
)
from lab.web import snapshot as snapshot_of
from lab.workflows.embedding import embed_passages

MEANING: Final = 0.5
"""Weight of how near a page is by meaning; the rest is what the ranks of providers say."""
PASSAGES: Final = 4
"""Passages that are looked at for each page that is asked for: some are of one page."""
MIN_SIMILARITY: Final = 0.3
"""Least cosine similarity of a passage that shares no word with the question."""


class Pages:
    """
    Pages of one owner.

    Parameters
    ----------
    database : Database
        Where they are kept.
    owner_id : UUID
        Whose they are.
    pipelines : Pipelines
        Where the model is that makes their passages findable; it is leased page by page.
    """

    def __init__(self, database: Database, owner_id: UUID, pipelines: Pipelines) -> None:
        self._database = database
        self._owner_id = owner_id
        self._pipelines = pipelines

    async def keep(self, read: ReadPage, chunk_tokens: int) -> WebPage:
        """
        Store a page with its snapshot and its passages, at once; the same answer only once.

        Parameters
        ----------
        read : ReadPage
            The page.
        chunk_tokens : int
            Most tokens of a passage.
        """
        answer = (canonical(read.requested_url), canonical(read.url), read.sha256)
        async with self._database.stores(self._owner_id) as stores:
            if there := await stores.web_pages.read_again(*answer):
                return there
        content = read.content
        async with self._pipelines.embedding() as embedding:
            passages, embeddings = await embed_passages(embedding, content.text, chunk_tokens)
        async with self._database.stores(self._owner_id) as stores:
            page = await stores.web_pages.add(
                passages,
                embeddings,
                **dict(zip(("requested_url", "url", "sha256"), answer, strict=True)),
                **asdict(content),
                status=read.status,
                n_bytes=len(read.body),
                embedding_model=embedding.signature,
                warc=snapshot_of(read),
            )
            page = page or await stores.web_pages.of_body(*answer)  # read twice at once
        if page is None:
            raise ConflictError(
                f"`{read.url}` was deleted while it was read again; read it once more."
            )
        return page

    async def kept(self, read: ReadPage) -> WebPage:
        """Return the page that was read from its snapshot."""
        async with self._database.stores(self._owner_id) as stores:
            page = await stores.web_pages.of_body(read.requested_url, read.url, read.sha256)
        if page is None:
            raise ConflictError(f"`{read.url}` was deleted while it was read; read it once more.")
        return page

    async def snapshot(self, url: str) -> Snapshot | None:
        """Return what was read last at an address in its canonical form."""
        async with self._database.stores(self._owner_id) as stores:
            page = await stores.web_pages.newest(url)
            if page is None:
                return None
            return Snapshot(page, await stores.web_pages.warc(page.id))


class Query:
    """
    What is searched for, with its embedding, which is made once by each model.

    Parameters
    ----------
    text : str
        In words.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._vectors: dict[str, FloatArray] = {}

    async def vector(self, embedding: EmbeddingPipeline) -> FloatArray:
        """Return its embedding, of shape (768,), comparable with what the same model embeds."""
        if embedding.signature not in self._vectors:
            (vector,) = await embedding.embed([self.text], kind="query")
            self._vectors[embedding.signature] = vector
        return self._vectors[embedding.signature]


class LocalIndex:
    """
    Searches the pages that the owner has read: a `SearchProvider` without a network.

    Parameters
    ----------
    database : Database
        Where they are kept.
    owner_id : UUID
        Whose they are.
    pipelines : Pipelines
        Where the embedding model is, which is leased while it embeds.
    query : Query
        What is searched for.
    """

    kind = SearchProviderKind.local

    def __init__(
        self, database: Database, owner_id: UUID, pipelines: Pipelines, query: Query
    ) -> None:
        self._database = database
        self._owner_id = owner_id
        self._pipelines = pipelines
        self._query = query

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """Return the pages that bear on the question, each with its best passage."""
        async with self._database.stores(self._owner_id) as stores:
            if not await stores.web_pages.are_there():
                return []
        async with self._pipelines.embedding() as embedding:  # in no transaction
            vector, model = await self._query.vector(embedding), embedding.signature
        async with self._database.stores(self._owner_id) as stores:
            signals = await stores.web_pages.signals(query, vector, model)
            nearest = best(signals, top_k=limit * PASSAGES, min_similarity=MIN_SIMILARITY)
            ids = [signals.ids[one.place] for one in nearest]
            found = await stores.web_pages.some(ids)
        pages: dict[str, SearchFinding] = {}
        for page, text in (found[id] for id in ids if id in found):
            finding = SearchFinding(page.url, page.title or page.url, text, page.published_on)
            pages.setdefault(page.sha256, finding)
        return list(pages.values())[:limit]


class Web:
    """
    What the lab does on the web for people.

    Parameters
    ----------
    database : Database
        Where pages are kept.
    pipelines : Pipelines
        Where the embedding model is.
    config : Config
        Where the lab may go, who searches, and how far reading goes.
    """

    def __init__(self, database: Database, pipelines: Pipelines, config: Config) -> None:
        self._database = database
        self._pipelines = pipelines
        self._config = config
        self._crawl = Crawl(config.web, config.pages)

    async def read(
        self, owner_id: UUID, request: WebReadRequest
    ) -> AsyncGenerator[WebOutcome, None]:
        """
        Read pages and keep them for a person; yield what comes of each as soon as it is kept.

        Closing the generator ends the reading at once.

        Raises
        ------
        InputError
            If it asks for more than the operator allows.
        """
        max_pages = request.max_pages or len(dict.fromkeys(request.urls))
        _check("max_pages", max_pages, self._config.pages.max_pages)
        _check("max_depth", request.max_depth, self._config.pages.max_depth)
        pages = Pages(self._database, owner_id, self._pipelines)
        source: PageSource = Replay(pages.snapshot) if request.offline else self._crawl
        outcomes = source.read(request.urls, max_pages=max_pages, max_depth=request.max_depth)
        async with aclosing(outcomes):
            async for outcome in outcomes:
                if isinstance(outcome, WebFailure):
                    yield WebOutcome(failure=outcome)
                elif request.offline:
                    yield WebOutcome(page=await pages.kept(outcome))
                else:
                    page = await pages.keep(outcome, self._config.documents.chunk_tokens)
                    yield WebOutcome(page=page)

    async def search(
        self, owner_id: UUID, request: WebSearchRequest, wordings: Sequence[str] = ()
    ) -> WebSearchResponse:
        """
        Return the pages that providers find, each once and the nearest to the question first.

        Parameters
        ----------
        owner_id : UUID
            Who asks.
        request : WebSearchRequest
            What is looked for.
        wordings : sequence of str
            What else is looked for, because it is the same in other words.

        Raises
        ------
        SearchError
            If all providers fail.
        ConfigError
            If a provider lacks a setting.
        """
        config = self._config.search
        queries = [Query(text) for text in (request.query, *wordings)]
        async with httpx.AsyncClient(timeout=config.timeout_s) as http:

            async def ask(query: Query) -> Answers:
                local = LocalIndex(self._database, owner_id, self._pipelines, query)
                return await ask_all(
                    [
                        local
                        if kind is SearchProviderKind.local
                        else open_provider(kind, config, http)
                        for kind in dict.fromkeys(request.providers or config.providers)
                    ],
                    query.text,
                    limit=request.limit,
                    at_once=config.at_once,
                    timeout_s=config.timeout_s,
                )

            answers = _joined(await asyncio.gather(*map(ask, queries), return_exceptions=True))
        found = [pair for one in answers for pair in one.found.items()]
        pages = await self._distinct(owner_id, merged(found))
        hits = _ranked(pages, await self._similarities(pages, queries[0]))
        failures = {failure.message: failure for one in answers for failure in one.failures}
        return WebSearchResponse(
            queries=[query.text for query in queries],
            hits=hits[: request.limit],
            asked=list(dict.fromkeys(kind for kind, _ in found)),
            failures=list(failures.values()),
        )

    async def _distinct(self, owner_id: UUID, pages: Sequence[Merged]) -> list[Merged]:
        """Return pages without those that had the same body as a better one when last read."""
        urls = [canonical(page.finding.url) for page in pages]
        async with self._database.stores(owner_id) as stores:
            hashes = await stores.web_pages.hashes(urls)
        first: dict[str, Merged] = {}
        for url, page in zip(urls, pages, strict=True):
            first.setdefault(hashes.get(url, url), page)
        return list(first.values())

    async def _similarities(self, pages: Sequence[Merged], query: Query) -> FloatArray:
        """Return the cosine of each page's title and snippet to the query, of shape (N,)."""
        if not pages:
            return np.zeros(0, dtype=np.float32)
        texts = [f"{page.finding.title}\n{page.finding.snippet}" for page in pages]
        async with self._pipelines.embedding() as embedding:
            return await embedding.embed(texts) @ await query.vector(embedding)


def _joined(found: Sequence[Answers | BaseException]) -> list[Answers]:
    """Return what was answered; raise where a query failed otherwise, or where all failed."""
    errors = [one for one in found if isinstance(one, BaseException)]
    for error in errors:
        if not isinstance(error, SearchError) or len(errors) == len(found):
            raise error
    return [one for one in found if isinstance(one, Answers)]


def _check(name: str, asked: int, most: int) -> None:
    if asked > most:
        raise InputError(
            f"`{name}` is {asked}, and {most} is the most (pages.{name}); ask for less, or ask the "
            "operator for more."
        )


def _ranked(pages: Sequence[Merged], similarities: FloatArray) -> list[WebHit]:
    scores = MEANING * np.clip(similarities, 0, 1) + (1 - MEANING) * np.array(
        [page.rank_score for page in pages]
    )
    return [
        WebHit(
            url=pages[place].finding.url,
            title=pages[place].finding.title,
            snippet=pages[place].finding.snippet,
            published_on=pages[place].finding.published_on,
            providers=pages[place].providers,
            score=float(scores[place]),
        )
        for place in np.argsort(-scores, kind="stable")
    ]
