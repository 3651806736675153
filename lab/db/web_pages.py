"""Pages of the web that were read, with their snapshots; searched by passage."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.dialects import postgresql

from lab.db.owned import OwnedStore
from lab.db.passages import insert_passages, passage_signals, signals_of
from lab.db.tables import WebChunkRow, WebPageRow
from lab.db.vectors import check_vectors
from lab.protocols import FloatArray, Passage, Signals
from lab.schemas.web_page import WebPage

_SIGNALS = passage_signals("web_chunks", "web_pages", "page_id")


class WebPageStore(OwnedStore[WebPage]):
    """Pages of one user; the same answer of the same address is one page."""

    kind = "web page"
    row = WebPageRow
    entity = WebPage

    async def add(
        self,
        passages: Sequence[Passage],
        embeddings: FloatArray,
        **about: Any,
    ) -> WebPage | None:
        """
        Store a page with its passages; return None where it is there already.

        Parameters
        ----------
        passages : sequence of Passage
            N parts of its text, in order.
        embeddings : array of shape (N, 768)
            Of the passages.
        **about
            The other fields of `WebPage`, `warc` and `embedding_model`.
        """
        check_vectors("passage", embeddings, len(passages))
        row = await self._session.scalar(
            postgresql.insert(WebPageRow)
            .values(owner_id=self._owner_id, **about)
            .on_conflict_do_nothing(
                index_elements=["owner_id", "requested_url", "url", "sha256"],
            )
            .returning(WebPageRow)
        )
        if row is None:
            return None
        page = self._checked(row)
        rows = [
            {
                "owner_id": self._owner_id,
                "page_id": page.id,
                "position": position,
                "start": passage.start,
                "end": passage.end,
                "text": passage.text,
                "embedding": embeddings[position],
            }
            for position, passage in enumerate(passages)
        ]
        await insert_passages(self._session, WebChunkRow, rows)
        return page

    async def of_body(self, requested_url: str, url: str, sha256: str) -> WebPage | None:
        """Return the page of the same answer, if there is one."""
        row = await self._session.scalar(
            select(WebPageRow).where(*self._answer(requested_url, url, sha256))
        )
        return None if row is None else self._checked(row)

    async def read_again(self, requested_url: str, url: str, sha256: str) -> WebPage | None:
        """Note that the same answer was read now, and return its page, if there is one."""
        row = await self._changed(
            {"read_at": func.clock_timestamp()}, *self._answer(requested_url, url, sha256)
        )
        return None if row is None else self._checked(row)

    async def newest(self, url: str) -> WebPage | None:
        """Return the page that was read last at an address, asked for there or led there."""
        row = await self._session.scalar(
            select(WebPageRow)
            .where(
                WebPageRow.owner_id == self._owner_id,
                or_(WebPageRow.requested_url == url, WebPageRow.url == url),
            )
            .order_by((WebPageRow.requested_url == url).desc(), WebPageRow.read_at.desc())
            .limit(1)
        )
        return None if row is None else self._checked(row)

    async def warc(self, id: UUID) -> bytes:
        """Return the snapshot of a page: a record of WARC, packed."""
        await self.get(id)
        found = await self._session.scalar(select(WebPageRow.warc).where(*self._is(id)))
        return found or b""

    async def hold(self, ids: Sequence[UUID]) -> set[UUID]:
        """Return which pages there are; nobody deletes them until the transaction ends."""
        found = await self._session.scalars(
            select(WebPageRow.id)
            .where(WebPageRow.owner_id == self._owner_id, WebPageRow.id.in_(ids))
            .order_by(WebPageRow.id)
            .with_for_update(read=True, key_share=True)
        )
        return set(found)

    async def are_there(self) -> bool:
        """Return True where the user has any."""
        one = select(WebPageRow.id).where(WebPageRow.owner_id == self._owner_id).limit(1)
        return await self._session.scalar(one) is not None

    async def hashes(self, urls: Sequence[str]) -> dict[str, str]:
        """Return the hash of the body that was read last at each of the addresses, if one was."""
        rows = await self._session.execute(
            select(WebPageRow.requested_url, WebPageRow.url, WebPageRow.sha256)
            .where(
                WebPageRow.owner_id == self._owner_id,
                or_(WebPageRow.requested_url.in_(urls), WebPageRow.url.in_(urls)),
            )
            .order_by(WebPageRow.read_at)
        )
        found: dict[str, str] = {}
        for requested_url, url, sha256 in rows:
            found[requested_url] = found[url] = sha256
        return {url: found[url] for url in urls if url in found}

    async def signals(self, question: str, query: FloatArray, model: str) -> Signals:
        """Return what speaks for each passage that may answer a question, as `signals_of` does."""
        return await signals_of(
            self._session,
            _SIGNALS,
            owner_id=self._owner_id,
            asked=question,
            query=query,
            model=model,
        )

    async def some(self, ids: Sequence[UUID]) -> dict[UUID, tuple[WebPage, str]]:
        """Return the passages of those ids that there are: each with its page."""
        rows = await self._session.execute(
            select(WebPageRow, WebChunkRow.id, WebChunkRow.text)
            .join(WebChunkRow, WebChunkRow.page_id == WebPageRow.id)
            .where(WebChunkRow.owner_id == self._owner_id, WebChunkRow.id.in_(ids))
        )
        return {id: (self._checked(page), text) for page, id, text in rows}

    def _answer(self, requested_url: str, url: str, sha256: str) -> tuple[ColumnElement[bool], ...]:
        return (
            WebPageRow.owner_id == self._owner_id,
            WebPageRow.requested_url == requested_url,
            WebPageRow.url == url,
            WebPageRow.sha256 == sha256,
        )
