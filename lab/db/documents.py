"""Files whose texts can be searched and cited."""

import builtins
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Uuid, bindparam, func, insert, select, text
from sqlalchemy.dialects import postgresql

from lab.db.owned import OwnedStore
from lab.db.tables import DocumentChunkRow, DocumentRow
from lab.db.vectors import check_vector, check_vectors
from lab.db.word_scores import word_scores, words_asked
from lab.protocols import EMBEDDING_DIM, FloatArray, Passage, Signals
from lab.schemas.document import Document
from lab.schemas.document_chunk import DocumentChunk

SEEDS: Final = 100
"""Passages of each kind that are looked up; their neighbours come along."""
_MOST_ROWS = 200  # in one statement: each carries a vector of 3 KiB

_SIGNALS = text(
    f"""
    WITH {word_scores("SELECT id, words FROM document_chunks WHERE owner_id = :owner")}, seeds AS (
        (SELECT document_id, position FROM document_chunks
        WHERE id IN (SELECT id FROM worded ORDER BY score DESC, id LIMIT {SEEDS}))
        UNION
        (SELECT c.document_id, c.position
        FROM document_chunks c JOIN documents d ON d.id = c.document_id
        WHERE c.owner_id = :owner AND d.embedding_model = :model
        ORDER BY c.embedding <=> CAST(:query AS vector), c.id LIMIT {SEEDS})
    ), places AS (
        -- Compared by equality, which the index of places serves, also before it has statistics.
        SELECT DISTINCT document_id, position + step AS position
        FROM seeds, unnest(ARRAY[-1, 0, 1]) AS step
    )
    SELECT c.id, c.document_id, c.position, coalesce(worded.score, 0) AS words,
        CASE WHEN d.embedding_model = :model
            THEN 1 - (c.embedding <=> CAST(:query AS vector)) ELSE 0 END AS similarity
    FROM places
    JOIN document_chunks c USING (document_id, position)
    JOIN documents d ON d.id = c.document_id
    LEFT JOIN worded ON worded.id = c.id
    WHERE c.owner_id = :owner
    ORDER BY c.document_id, c.position
    """
).bindparams(bindparam("owner", type_=Uuid), bindparam("query", type_=VECTOR(EMBEDDING_DIM)))


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
        for first in range(0, len(passages), _MOST_ROWS):
            part = range(first, min(first + _MOST_ROWS, len(passages)))
            await self._session.execute(
                insert(DocumentChunkRow),
                [self._chunk(document, i, passages[i], embeddings[i]) for i in part],
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
        check_vector("query", query)
        values = {
            **await words_asked(self._session, question),
            "owner": self._owner_id,
            "query": query,
            "model": model,
        }
        rows = (await self._session.execute(_SIGNALS, values)).all()
        numbers = {id: n for n, id in enumerate(dict.fromkeys(row.document_id for row in rows))}
        similarity = np.array([row.similarity for row in rows], dtype=np.float32)
        return Signals(
            ids=[row.id for row in rows],
            chat=np.array([numbers[row.document_id] for row in rows], dtype=np.int64),
            position=np.array([row.position for row in rows], dtype=np.int64),
            day=np.zeros(len(rows), dtype=np.int64),
            words=np.array([row.words for row in rows], dtype=np.float32),
            similarity=similarity,
            context_similarity=np.full_like(similarity, np.nan),
            spoken=np.zeros(len(rows), dtype=np.bool_),
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
