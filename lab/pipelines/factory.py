"""
Where pipelines come from: each model is loaded once, when first asked for, and leased.

Importing this module imports no torch; the first load does.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

from lab.errors import ConflictError
from lab.pipelines.catalog import Catalog
from lab.pipelines.ledger import Ledger, Pipeline
from lab.pipelines.need import Prospect
from lab.pipelines.residency import Loader, Residents
from lab.pipelines.tally import Tally
from lab.protocols import ChatPipeline, EmbeddingPipeline
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.residency import Residency
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.task import Task

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat
    from lab.pipelines.embedding import SentenceEmbedding


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """A moment's load over all chat models, and what was done since the start."""

    active_streams: int
    queued: int
    prompt_tokens: int
    generated_tokens: int
    models_loaded: int
    leases: int
    evictions: int


class PipelineFactory:
    """
    Lease pipelines on the models of a catalog, which share the memory of their devices.

    Parameters
    ----------
    chat : ChatConfig
        The chat models and their batch.
    embedding : EmbeddingConfig
        The embedding model.
    residency : ResidencyConfig
        How they share the memory.
    on_import : callable
        Called in a thread after a model's libraries were imported.
    """

    def __init__(
        self,
        chat: ChatConfig,
        embedding: EmbeddingConfig,
        residency: ResidencyConfig,
        *,
        on_import: Callable[[], object],
    ) -> None:
        self.catalog = Catalog(chat, embedding)
        self._chat_config = chat
        self._embedding_config = embedding
        # Every turn needs the embedding model: were it to leave, a turn could wait for itself.
        ledger = ledger_of(residency, always=[self.catalog.embedding.id])
        self.residents = Residents(ledger, wait_s=residency.wait_s, on_import=on_import)
        self._chats = Loader(self._foretell_chat, self._load_chat)
        self._embeddings = Loader(self._foretell_embedding, self._load_embedding)
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def chat(
        self, model_id: str, *, purpose: str = "answer", owner: UUID | None = None
    ) -> AbstractAsyncContextManager[ChatPipeline]:
        """Lease a chat model; loads it when nobody has."""
        model = self.catalog.chat_model(model_id)
        return self.residents.lease(model, self._chats, purpose=purpose, owner=owner)

    def embedding(self) -> AbstractAsyncContextManager[EmbeddingPipeline]:
        """Lease the embedding model; loads it when nobody has."""
        return self.residents.lease(self.catalog.embedding, self._embeddings, purpose="embedding")

    async def load(self, model_id: str) -> None:
        """Bring a model into memory before anybody asks for it."""
        model = self.known(model_id)
        loader: Loader[Pipeline] = self._chats if model.task is Task.chat else self._embeddings
        async with self.residents.lease(model, loader, purpose="load"):
            pass

    async def unload(self, model_id: str) -> None:
        """Take a model out of memory; raise `ConflictError` while it is used."""
        await self.residents.unload(self.known(model_id).id)

    def share(self, model_id: str, update: ResidencyUpdate) -> None:
        """Pin a model or end that, and say how early it leaves; holds for later loads too."""
        model = self.known(model_id)
        if update.pinned is not None:
            self.residents.ledger.pin(model.id, pinned=update.pinned)
        if update.priority is not None:
            self.residents.ledger.prioritise(model.id, update.priority)

    def add(self, model: Model) -> Model:
        """Take a model into the catalog, and return it as it is known from now on."""
        return self.catalog.add(model)

    async def remove(self, model_id: str) -> Model:
        """
        Take a model out of memory and out of the catalog; return it.

        Raises
        ------
        ConflictError
            If it is used, or named by the settings.
        UnknownModelError
            If there is no such model.
        """
        model = self.catalog.remove(model_id)  # first, so that nobody asks for it meanwhile
        try:
            await self.residents.unload(model_id)
        except ConflictError as error:
            self.catalog.add(model)
            raise ConflictError(f"The model cannot be removed while it is used: {error}") from error
        return model

    async def exchange(self, model: Model) -> Model:
        """Know another revision of a model from now on; `ConflictError` while that is used."""
        before = self.known(model.id)
        known = self.catalog.add(model)
        if known.revision != before.revision:
            try:
                await self.residents.unload(model.id)
            except ConflictError:
                self.catalog.add(before)
                raise
        return known

    def residency(self) -> Residency:
        """Return who holds which memory, and why."""
        return self.residents.ledger.report()

    def models(self) -> list[Model]:
        """Return every model of the catalog; a loaded one says so and has its real lengths."""
        loaded = {name: pipeline.model for name, pipeline in self.residents.loaded.items()}
        return [loaded.get(model.id, model) for model in self.catalog.models()]

    def profiles(self) -> list[ModelProfile]:
        """Return the profiles that come with the lab."""
        return self.catalog.profiles()

    def resolve(self, name: str, own: Sequence[ModelProfile] = ()) -> ModelProfile:
        """
        Return the profile of that name, or raise `UnknownModelError` with the nearest.

        Parameters
        ----------
        name : str
            What a request calls it.
        own : sequence of ModelProfile
            Those of who asks, besides the lab's.
        """
        return self.catalog.resolve(name, own)

    def stats(self) -> PipelineStats:
        """Return the load now and tokens since the start."""
        loaded = self.residents.loaded
        engines = [
            cast("TransformersChat", pipeline).engine.stats
            for pipeline in loaded.values()
            if pipeline.model.task is Task.chat
        ]
        ledger = self.residents.ledger
        return PipelineStats(
            active_streams=sum(stats.active for stats in engines),
            queued=sum(stats.queued for stats in engines),
            prompt_tokens=sum(tally.prompt_tokens for tally in self._tallies.values()),
            generated_tokens=sum(tally.generated_tokens for tally in self._tallies.values()),
            models_loaded=len(loaded),
            leases=sum(len(holding.leases) for holding in ledger.holdings.values()),
            evictions=ledger.n_evictions,
        )

    async def aclose(self) -> None:
        """Unload everything; answers under way end with an error."""
        await self.residents.aclose()

    def known(self, model_id: str) -> Model:
        """Return a model of the catalog by its id or by the name of a profile on it."""
        known = {model.id: model for model in self.catalog.models()}
        return known.get(model_id) or self.catalog.chat_model(model_id)

    def _foretell_chat(self, model: Model) -> Prospect:
        from lab.pipelines.load import foretell_chat  # noqa: PLC0415 - imports torch

        return foretell_chat(model, self._chat_config)

    def _load_chat(self, model: Model, form: Quantization) -> "TransformersChat":
        from lab.pipelines.load import load_chat  # noqa: PLC0415 - imports torch

        return load_chat(model, self._chat_config, form, self._tallies[model.id])

    def _foretell_embedding(self, model: Model) -> Prospect:
        from lab.pipelines.load import foretell_embedding  # noqa: PLC0415 - imports torch

        return foretell_embedding(model, self._embedding_config)

    def _load_embedding(self, model: Model, form: Quantization) -> "SentenceEmbedding":
        from lab.pipelines.load import load_embedding  # noqa: PLC0415 - imports torch

        return load_embedding(model, self._embedding_config)


def _free_bytes(device: str) -> int:
    from lab.pipelines.devices import free_bytes, torch_device  # noqa: PLC0415 - imports torch

    return free_bytes(torch_device(device))


def ledger_of(residency: ResidencyConfig, always: Collection[str] = ()) -> Ledger:
    """Return the account that the settings describe; `always` names models that never leave."""
    budget = None if residency.memory_gb is None else int(residency.memory_gb * 1e9)
    return Ledger(budget, _free_bytes, pinned={*always, *residency.pinned})


def pipeline_factory(
    chat: ChatConfig,
    embedding: EmbeddingConfig,
    residency: ResidencyConfig | None = None,
    on_import: Callable[[], object] = lambda: None,
) -> PipelineFactory:
    """Return a factory for the configured models; see `PipelineFactory`."""
    return PipelineFactory(chat, embedding, residency or ResidencyConfig(), on_import=on_import)
