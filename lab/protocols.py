"""What the rooms ask of each other: typed seams between pipelines, storage and workflows."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model import Model
from lab.schemas.sandbox_config import SandboxConfig
from lab.schemas.sandbox_result import SandboxResult
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.schemas.tool import Tool

FloatArray = NDArray[np.float32]

EMBEDDING_DIM = 768
"""Length of a stored embedding; shorter ones are padded with zeros, which keeps the cosine."""

CONTEXT_TURNS = 2
"""How many turns before one are embedded together with it; it stands in as many after it."""

ENDS: Final = frozenset(
    {
        EventType.run_completed,
        EventType.run_failed,
        EventType.run_cancelled,
        EventType.run_interrupted,
    }
)
"""The events that end a run: nothing comes after."""

EmbeddingKind = Literal["query", "document"]


@dataclass(frozen=True)
class Signals:
    """
    What speaks for N turns that may answer a question; arrays of shape (N,), chat by chat.

    Passages of documents are turns of which nobody is the speaker, and a document is their chat.
    """

    ids: Sequence[UUID]
    """The memories, or the passages."""

    chat: NDArray[np.int64]
    """Number of the chat, the same for turns of one chat."""

    position: NDArray[np.int64]
    """Index in the chat, rising."""

    day: NDArray[np.int64]
    """When it was said, in days."""

    words: FloatArray
    """BM25 score of the words it shares with the question; 0 = none."""

    similarity: FloatArray
    """Cosine similarity to the question, in [-1, 1]; NaN where another model embedded the turn."""

    context_similarity: FloatArray
    """The same for the turn together with those before it; NaN also where it has no such view."""

    spoken: NDArray[np.bool_]
    """True where the speaker is the one whom the question means."""


@dataclass(frozen=True)
class Passage:
    """A part of a document's text that is embedded, searched and cited as one."""

    start: int
    """Where it begins, in characters."""

    end: int
    """Where it ends; the character there is the first that is not of it."""

    text: str
    page: int | None = None
    """The page on which it stands, from 1, where the file has pages."""


@dataclass(frozen=True)
class SearchFinding:
    """A page that a provider found."""

    url: str
    title: str
    snippet: str
    """What the provider shows of it."""

    published_on: str | None = None
    """Its day, as `2026-03-01`, where the provider says one."""


class SearchProvider(Protocol):
    """Who searches the web."""

    @property
    def kind(self) -> SearchProviderKind:
        """Which one it is."""
        ...

    async def search(self, query: str, limit: int) -> Sequence[SearchFinding]:
        """
        Return what it finds, the best first: nothing only where it looked and found nothing.

        Raises
        ------
        SearchError
            If it could not look; the message names it and says why.
        """
        ...


class ChatPipeline(Protocol):
    """A chat model that answers."""

    @property
    def model(self) -> Model:
        """The model, with its context length."""
        ...

    async def prepare(self, messages: Sequence[ChatMessage]) -> None:
        """Look at the pictures of messages before they are counted; refuse what is none."""
        ...

    def count_tokens(self, messages: Sequence[ChatMessage], tools: Sequence[Tool] = ()) -> int:
        """Return the tokens of the prompt, chat template and generation prompt included."""
        ...

    def count_text(self, text: str) -> int:
        """Return the tokens of a text alone; much faster, for what is counted piece by piece."""
        ...

    def stream(
        self,
        messages: Sequence[ChatMessage],
        parameters: GenerationParameters,
        *,
        tools: Sequence[Tool] = (),
        owner: UUID | None = None,
    ) -> AsyncIterator[ChatDelta]:
        """
        Yield the answer as it is generated; closing the iterator frees its place at once.

        `owner` is whose it is: what of theirs is in memory still need not be run again.
        """
        ...


class EmbeddingPipeline(Protocol):
    """A model that turns texts into vectors."""

    @property
    def model(self) -> Model:
        """The model, with its dimension."""
        ...

    @property
    def signature(self) -> str:
        """Name and digest of the model's files: vectors of one signature are comparable."""
        ...

    async def embed(
        self,
        texts: Sequence[str],
        *,
        kind: EmbeddingKind = "document",
        dimensions: int | None = None,
    ) -> FloatArray:
        """
        Return unit vectors of shape (N, 768), in the order of `texts`.

        With `dimensions` no more numbers than those are not 0; raises `InputError` where the model
        was not trained for it.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> int:
        """Return the tokens of all texts, special tokens included."""
        ...

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, special tokens included."""
        ...


class RerankPipeline(Protocol):
    """A model that says how well documents answer a question."""

    @property
    def model(self) -> Model:
        """The model, with the tokens that it reads at once."""
        ...

    async def score(self, query: str, documents: Sequence[str]) -> tuple[FloatArray, int]:
        """Return (N,) scores from 0 to 1 in the order of `documents`, and the tokens read."""
        ...


class Pipelines(Protocol):
    """Where workflows get pipelines; each context is a lease on a loaded model."""

    def chat(
        self, model_id: str, *, purpose: str = "answer", owner: UUID | None = None
    ) -> AbstractAsyncContextManager[ChatPipeline]:
        """Lease a chat model, for a purpose of an owner; None = the lab's own."""
        ...

    def embedding(self) -> AbstractAsyncContextManager[EmbeddingPipeline]:
        """Lease the embedding model."""
        ...


class Sandbox(Protocol):
    """Where Python code runs that nobody trusts."""

    async def run_python(
        self,
        code: str,
        *,
        function: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        limits: SandboxConfig | None = None,
    ) -> SandboxResult:
        """
        Run code, and return what came of it; cancelling ends it at once.

        With `function` that function of the code is called with the arguments, else the value of
        the code's last line counts. Raises `ServiceError` where it cannot be run safely.
        """
        ...
