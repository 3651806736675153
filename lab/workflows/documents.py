"""The documents of one owner: read, cut into passages, embedded, stored; found again."""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from pathlib import PureWindowsPath
from typing import IO, Final
from uuid import UUID

from lab.context import best
from lab.db import Database, Stores
from lab.errors import ConflictError, DocumentError, InputError
from lab.protocols import EmbeddingPipeline
from lab.reading import Text
from lab.schemas.document import Document
from lab.schemas.document_added import DocumentAdded
from lab.schemas.document_hit import DocumentHit
from lab.workflows.embedding import embed_passages
from lab.workflows.question import Question

MOST_NAME: Final = 200
"""Characters of a name."""

Read = Callable[[IO[bytes], str], Awaitable[Text]]
"""Reads a file that has a name; raises `DocumentError`."""


class Documents:
    """
    Documents of one owner.

    Parameters
    ----------
    database : Database
        Where they are.
    owner_id : UUID
        Whose they are.
    embedding : EmbeddingPipeline
        Makes passages findable.
    """

    def __init__(self, database: Database, owner_id: UUID, embedding: EmbeddingPipeline) -> None:
        self._database = database
        self._owner_id = owner_id
        self._embedding = embedding

    async def add(self, file: IO[bytes], name: str, read: Read, chunk_tokens: int) -> DocumentAdded:
        """
        Store a file's text with its passages, in one transaction after all else is done.

        The same bytes are the same document, whatever they are called.

        Raises
        ------
        DocumentError
            If the file is empty or cannot be read.
        InputError
            If the name is none.
        """
        name = file_name(name)
        n_bytes = file.seek(0, 2)
        if not n_bytes:
            raise DocumentError(f"`{name}` is empty (0 bytes); was it saved?")
        sha256 = await asyncio.to_thread(_digest, file)
        if there := await self._of_bytes(sha256):
            return DocumentAdded(document=there, is_new=False)
        found = await read(file, name)
        passages, embeddings = await embed_passages(
            self._embedding, found.text, chunk_tokens, found.pages
        )
        async with self._database.stores(self._owner_id) as stores:
            document = await stores.documents.add(
                found.text,
                passages,
                embeddings,
                name=name,
                media_type=found.media_type,
                sha256=sha256,
                n_bytes=n_bytes,
                embedding_model=self._embedding.signature,
            )
        if document:
            return DocumentAdded(document=document, is_new=True)
        if there := await self._of_bytes(sha256):  # sent twice at once
            return DocumentAdded(document=there, is_new=False)
        raise ConflictError(f"`{name}` was deleted while it was added again; send it once more.")

    async def _of_bytes(self, sha256: str) -> Document | None:
        async with self._database.stores(self._owner_id) as stores:
            return await stores.documents.of_bytes(sha256)


async def find_passages(
    stores: Stores, question: Question, *, top_k: int, min_similarity: float = -1.0
) -> list[DocumentHit]:
    """
    Return the passages that bear on a question, best first.

    Parameters
    ----------
    stores : Stores
        Open, of the owner.
    question : Question
        What is asked; it is embedded only where there are documents.
    top_k : int
        Most passages to return.
    min_similarity : float
        Least cosine similarity of a passage that shares no word with the question.
    """
    if not await stores.documents.are_there():
        return []
    signals = await stores.documents.signals(
        question.text, await question.vector(), question.embedding.signature
    )
    nearest = best(signals, top_k=top_k, min_similarity=min_similarity)
    found = await stores.documents.some([signals.ids[one.place] for one in nearest])
    hits = [(one, *found[id]) for one in nearest if (id := signals.ids[one.place]) in found]
    return [
        DocumentHit(
            document=document,
            chunk=chunk,
            score=one.score,
            similarity=float(signals.similarity[one.place]),
        )
        for one, document, chunk in hits
    ]


def file_name(given: str) -> str:
    r"""
    Return the name of a file without folders and line breaks.

    Raises
    ------
    InputError
        If nothing is left of it, or too much.

    Examples
    --------
    >>> file_name("C:\\papers\\my\nnotes.txt"), file_name("/tmp/a.pdf")
    ('my notes.txt', 'a.pdf')
    """
    name = PureWindowsPath(re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", given)).name.strip()
    if not name or len(name) > MOST_NAME:
        raise InputError(
            f"A document needs a name of 1 to {MOST_NAME} characters, got {len(name)}; "
            "name the file."
        )
    return name


def label(hit: DocumentHit) -> str:
    """Return how a passage is cited: the document and, where it has pages, the page."""
    page = hit.chunk.page
    return f"{hit.document.name}, page {page}" if page else hit.document.name


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
