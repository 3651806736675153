"""Files whose texts can be searched and cited."""

import builtins
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql

from lab.db.owned import OwnedStore
from lab.db.passages import insert_passages, passage_signals, signals_of
from lab.db.tables import DocumentChunkRow, DocumentRow
from lab.db.vectors import check_vectors
from lab.protocols import FloatArray, Passage, Signals
from lab.schemas.document import Document
from lab.schemas.document_chunk import DocumentChunk

_SIGNALS = passage_signals("document_chunks", "documents", "document_id")


class DocumentStore(OwnedStore[Document]):
    """Documents of one user with their passages."""

    kind = "document"
    row = DocumentRow
    entity = Document

    async def add(
        self,
        text: str,
        passages: Sequence[Passage],
        embeddings: FloatArray,
        **about: Any,
    ) -> Document | None:
        """
        Store a document with its passages; return None where the same bytes are there already.

        Parameters
        ----------
        text : str
            All of it.
        passages : sequence of Passage
            N parts of the text, in order.
        embeddings : array of shape (N, 768)
            Of the passages.
        **about
            `name`, `media_type`, `sha256`, `n_bytes` and `embedding_model` of `Document`.
        """
        check_vectors("passage", embeddings, len(passages))
        row = await self._session.scalar(
            postgresql.insert(DocumentRow)
            .values(
                owner_id=self._owner_id,
                text=text,
                n_characters=len(text),
                n_chunks=len(passages),
                **about,
            )
            .on_conflict_do_nothing(index_elements=["owner_id", "sha256"])
            .returning(DocumentRow)
        )
        if row is None:
            return None
        document = self._checked(row)
        await insert_passages(
            self._session,
            DocumentChunkRow,
            [self._chunk(document, i, passages[i], embeddings[i]) for i in range(len(passages))],
        )
        return document

    async def of_bytes(self, sha256: str) -> Document | None:
        """Return the document that was made from the same bytes, if there is one."""
        row = await self._session.scalar(
            select(DocumentRow).where(
                DocumentRow.owner_id == self._owner_id, DocumentRow.sha256 == sha256
            )
        )
        return None if row is None else self._checked(row)

    async def are_there(self) -> bool:
        """Return True where the user has any."""
        one = select(DocumentRow.id).where(DocumentRow.owner_id == self._owner_id).limit(1)
        return await self._session.scalar(one) is not None

    async def text(self, id: UUID, start: int, end: int) -> str:
        """Return the characters of a document's text from `start` up to `end`."""
        await self.get(id)
        found = await self._session.scalar(
            select(func.substr(DocumentRow.text, start + 1, max(0, end - start))).where(
                *self._is(id)
            )
        )
        return found or ""

    async def chunks(self, id: UUID) -> builtins.list[DocumentChunk]:
        """Return all passages of a document, in order."""
        await self.get(id)
        rows = await self._session.scalars(
            select(DocumentChunkRow)
            .where(DocumentChunkRow.owner_id == self._owner_id, DocumentChunkRow.document_id == id)
            .order_by(DocumentChunkRow.position)
        )
        return [DocumentChunk.model_validate(row, from_attributes=True) for row in rows]

    async def some(self, ids: Sequence[UUID]) -> dict[UUID, tuple[Document, DocumentChunk]]:
        """Return the passages of those ids that there are, with their documents."""
        rows = await self._session.execute(
            select(DocumentRow, DocumentChunkRow)
            .join(DocumentChunkRow, DocumentChunkRow.document_id == DocumentRow.id)
            .where(DocumentChunkRow.owner_id == self._owner_id, DocumentChunkRow.id.in_(ids))
        )
        return {
            chunk.id: (
                self._checked(document),
                DocumentChunk.model_validate(chunk, from_attributes=True),
            )
            for document, chunk in rows
        }

    async def signals(self, question: str, query: FloatArray, model: str) -> Signals:
        """
        Return what speaks for each passage that may answer a question, document by document.

        Parameters
        ----------
        question : str
            What is asked; its first 10,000 characters are searched by word.
        query : array of shape (768,)
            Its embedding.
        model : str
            The model that embedded it: passages of another one are found by their words only.
        """
        return await signals_of(
            self._session,
            _SIGNALS,
            owner_id=self._owner_id,
            asked=question,
            query=query,
            model=model,
        )

    def _chunk(
        self, document: Document, position: int, passage: Passage, embedding: FloatArray
    ) -> dict[str, Any]:
        return {
            "owner_id": self._owner_id,
            "document_id": document.id,
            "position": position,
            "start": passage.start,
            "end": passage.end,
            "page": passage.page,
            "text": passage.text,
            "embedding": embedding,
        }
