"""
Where pipelines come from: each model is loaded once, when first asked for, and leased.

Importing this module imports no torch; the first load does.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from lab.pipelines.catalog import Catalog
from lab.protocols import ChatPipeline, EmbeddingPipeline
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat
    from lab.pipelines.embedding import SentenceEmbedding

PipelineT = TypeVar("PipelineT")


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """A moment's load over all chat models, and what was done since the start."""

    active_streams: int
    queued: int
    prompt_tokens: int
    generated_tokens: int
    models_loaded: int
    leases: int


class Shelf(Generic[PipelineT]):
    """
    Pipelines of one kind, by model; each is loaded once, however many ask at the same time.

    Parameters
    ----------
    load : callable
        Makes the pipeline of a model; blocks, so it runs in a thread.
    on_load : callable
        Called after each load, in its thread.
    """

    def __init__(
        self, load: Callable[[Model], PipelineT], *, on_load: Callable[[], object]
    ) -> None:
        self._load = load
        self._on_load = on_load
        self._tasks: dict[str, asyncio.Task[PipelineT]] = {}

    async def get(self, model: Model) -> PipelineT:
        """Return the model's pipeline; a load that fails raises for all who wait for it."""
        task = self._tasks.get(model.id)
        if task is None:
            task = asyncio.create_task(asyncio.to_thread(self._make, model))
            task.add_done_callback(lambda done: self._keep(model.id, done))
            self._tasks[model.id] = task
        return await asyncio.shield(task)

    @property
    def loaded(self) -> dict[str, PipelineT]:
        """The pipelines that are there, by model id."""
        return {name: task.result() for name, task in self._tasks.items() if task.done()}

    async def drain(self) -> list[PipelineT]:
        """Take everything out, after the loads under way."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        pipelines = list(self.loaded.values())
        self._tasks.clear()
        return pipelines

    def _make(self, model: Model) -> PipelineT:
        pipeline = self._load(model)
        self._on_load()
        return pipeline

    def _keep(self, model_id: str, task: asyncio.Task[PipelineT]) -> None:
        """Forget a load that failed, so that the next request tries again."""
        if task.cancelled() or task.exception():
            self._tasks.pop(model_id, None)


class PipelineFactory:
    """
    Lease pipelines on the models of a catalog.

    Parameters
    ----------
    chat : ChatConfig
        The default chat model and its batch.
    embedding : EmbeddingConfig
        The embedding model.
    on_load : callable
        Called after each load of a model, in a thread of its own.
    """

    def __init__(
        self, chat: ChatConfig, embedding: EmbeddingConfig, *, on_load: Callable[[], object]
    ) -> None:
        self.catalog = Catalog(chat, embedding)
        self._chat_config = chat
        self._embedding_config = embedding
        self._chats: Shelf[TransformersChat] = Shelf(self._load_chat, on_load=on_load)
        self._embeddings: Shelf[SentenceEmbedding] = Shelf(self._load_embedding, on_load=on_load)
        self._leases: Counter[str] = Counter()

    @asynccontextmanager
    async def chat(self, model_id: str) -> AsyncIterator[ChatPipeline]:
        """Lease a chat model; loads it when nobody has."""
        model = self.catalog.chat_model(model_id)
        pipeline = await self._chats.get(model)
        with self._lease(model):
            yield pipeline

    @asynccontextmanager
    async def embedding(self) -> AsyncIterator[EmbeddingPipeline]:
        """Lease the embedding model; loads it when nobody has."""
        model = self.catalog.embedding
        pipeline = await self._embeddings.get(model)
        with self._lease(model):
            yield pipeline

    def models(self) -> list[Model]:
        """Return every model of the catalog; a loaded one says so and has its real lengths."""
        loaded = {name: p.model for name, p in self._pipelines().items()}
        return [loaded.get(model.id, model) for model in self.catalog.models()]

    def profiles(self) -> list[ModelProfile]:
        """Return the profiles that come with the lab."""
        return self.catalog.profiles()

    def resolve(self, name: str) -> ModelProfile:
        """Return the profile of that name, or raise `UnknownModelError` with the nearest."""
        return self.catalog.resolve(name)

    def stats(self) -> PipelineStats:
        """Return the load now and tokens since the start."""
        engines = [chat.engine.stats for chat in self._chats.loaded.values()]
        return PipelineStats(
            active_streams=sum(stats.active for stats in engines),
            queued=sum(stats.queued for stats in engines),
            prompt_tokens=sum(stats.prompt_tokens for stats in engines),
            generated_tokens=sum(stats.generated_tokens for stats in engines),
            models_loaded=len(self._pipelines()),
            leases=self._leases.total(),
        )

    async def aclose(self) -> None:
        """Unload everything; answers under way end with an error."""
        closings = [chat.close for chat in await self._chats.drain()]
        closings += [embedding.close for embedding in await self._embeddings.drain()]
        await asyncio.gather(*(asyncio.to_thread(close) for close in closings))

    def _pipelines(self) -> "dict[str, TransformersChat | SentenceEmbedding]":
        return {**self._chats.loaded, **self._embeddings.loaded}

    @contextmanager
    def _lease(self, model: Model) -> Iterator[None]:
        self._leases[model.id] += 1
        try:
            yield
        finally:
            self._leases[model.id] -= 1

    def _load_chat(self, model: Model) -> "TransformersChat":
        from lab.pipelines.load import load_chat  # noqa: PLC0415 - imports torch

        return load_chat(model, self._chat_config)

    def _load_embedding(self, model: Model) -> "SentenceEmbedding":
        from lab.pipelines.load import load_embedding  # noqa: PLC0415 - imports torch

        return load_embedding(model, self._embedding_config)


def pipeline_factory(
    chat: ChatConfig, embedding: EmbeddingConfig, on_load: Callable[[], object] = lambda: None
) -> PipelineFactory:
    """Return a factory for the configured models, which calls `on_load` after each load."""
    return PipelineFactory(chat, embedding, on_load=on_load)
