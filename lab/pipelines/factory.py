"""
Where pipelines come from: each model is loaded once, when first asked for, and leased.

Importing this module imports no torch; the first load does.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

from lab.errors import ConfigError, ConflictError
from lab.pipelines.catalog import Catalog
from lab.pipelines.learned import LearnedLimits
from lab.pipelines.ledger import Ledger, Occupant
from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader, Residents
from lab.pipelines.room import Limits, Room
from lab.pipelines.tally import Tally
from lab.protocols import ChatPipeline, EmbeddingPipeline, RerankPipeline
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.lease_request import LeaseRequest
from lab.schemas.memory_lease import MemoryLease
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.rerank_config import RerankConfig
from lab.schemas.residency import Residency
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.task import Task

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat
    from lab.pipelines.embedding import SentenceEmbedding
    from lab.pipelines.reranking import Reranker
    from lab.pipelines.reservation import Reservation


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
    learned : LearnedLimits
        What devices were found to bear.
    rerank : RerankConfig
        The model that ranks documents.
    """

    def __init__(
        self,
        chat: ChatConfig,
        embedding: EmbeddingConfig,
        residency: ResidencyConfig,
        *,
        on_import: Callable[[], object],
        learned: LearnedLimits,
        rerank: RerankConfig,
    ) -> None:
        self.catalog = Catalog(chat, embedding, rerank)
        self._chat_config = chat
        self._embedding_config = embedding
        self._rerank_config = rerank
        # Every turn needs the embedding model: were it to leave, a turn could wait for itself.
        ledger = ledger_of(residency, always=[self.catalog.embedding.id])
        self.residents = Residents(ledger, wait_s=residency.wait_s, on_import=on_import)
        self._learned = learned
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)

    def chat(
        self, model_id: str, *, purpose: str = "answer", owner: UUID | None = None
    ) -> AbstractAsyncContextManager[ChatPipeline]:
        """Lease a chat model; loads it when nobody has."""
        model = self.catalog.chat_model(model_id)
        return self.residents.lease(
            model.id, self._chat_loader(model), purpose=purpose, owner=owner
        )

    def embedding(self) -> AbstractAsyncContextManager[EmbeddingPipeline]:
        """Lease the embedding model; loads it when nobody has."""
        model = self.catalog.embedding
        return self.residents.lease(model.id, self._embedding_loader(model), purpose="embedding")

    def rerank(self, *, owner: UUID | None = None) -> AbstractAsyncContextManager[RerankPipeline]:
        """
        Lease the reranker; loads it when nobody has.

        Raises
        ------
        ConfigError
            If the settings name none.
        """
        model = self.catalog.rerank
        if model is None:
            raise ConfigError(
                "This lab has no reranker: set LAB_RERANK_MODEL to the Hugging Face id or the "
                "folder of a cross-encoder, or of a language model that answers yes or no."
            )
        return self.residents.lease(
            model.id, self._rerank_loader(model), purpose="rerank", owner=owner
        )

    async def load(self, model_id: str) -> None:
        """Bring a model into memory before anybody asks for it."""
        model = self._known(model_id)
        loaders: dict[Task, Callable[[Model], Loader[Occupant]]] = {
            Task.chat: self._chat_loader,
            Task.embedding: self._embedding_loader,
            Task.rerank: self._rerank_loader,
        }
        async with self.residents.lease(model.id, loaders[model.task](model), purpose="load"):
            pass

    async def unload(self, model_id: str) -> None:
        """Take a model out of memory; raise `ConflictError` while it is used."""
        await self.residents.unload(self._known(model_id).id, "asked for by an administrator")

    def share(self, model_id: str, update: ResidencyUpdate) -> None:
        """
        Pin a model or end that, and say how early it leaves; holds for later loads too.

        `relearn` forgets at the next load what the device was found to bear.
        """
        model = self._known(model_id)
        if update.pinned is not None:
            self.residents.ledger.pin(model.id, pinned=update.pinned)
        if update.priority is not None:
            self.residents.ledger.prioritise(model.id, update.priority)
        if update.relearn:
            self._learned.forget(f"{model.id} as ")

    async def reserve(
        self, request: LeaseRequest, owner: UUID
    ) -> AsyncGenerator[MemoryLease, None]:
        """
        Yield memory that somebody has for their own use, until the generator is closed.

        Raises
        ------
        InputError
            If there is no such device.
        NoRoomError
            If it does not fit, or models in use did not leave in time.
        """
        name = f"{request.purpose}-{uuid4().hex[:8]}"
        loader = self._reservation_loader(name, request)
        lease = self.residents.lease(name, loader, purpose=request.purpose, owner=owner)
        try:
            async with lease:
                holding = self.residents.ledger.holdings[name]
                yield MemoryLease(name=name, device=holding.device, n_bytes=holding.need.total)
        finally:
            with suppress(ConflictError):  # another already has it leave
                await self.residents.unload(name, "its lease ended")

    def residency(self) -> Residency:
        """Return who holds which memory, and why."""
        return self.residents.ledger.report()

    def models(self) -> list[Model]:
        """Return every model of the catalog; a loaded one says so and has its real lengths."""
        loaded = self.residents.loaded
        return [
            cast("ChatPipeline | EmbeddingPipeline | RerankPipeline", loaded[model.id]).model
            if model.id in loaded
            else model
            for model in self.catalog.models()
        ]

    def profiles(self) -> list[ModelProfile]:
        """Return the profiles that come with the lab."""
        return self.catalog.profiles()

    def resolve(self, name: str) -> ModelProfile:
        """Return the profile of that name, or raise `UnknownModelError` with the nearest."""
        return self.catalog.resolve(name)

    def stats(self) -> PipelineStats:
        """Return the load now and tokens since the start."""
        loaded = self.residents.loaded
        engines = [
            cast("TransformersChat", loaded[model.id]).engine.stats
            for model in self.catalog.models()
            if model.task is Task.chat and model.id in loaded
        ]
        ledger = self.residents.ledger
        return PipelineStats(
            active_streams=sum(stats.active for stats in engines),
            queued=sum(stats.queued for stats in engines),
            prompt_tokens=sum(tally.prompt_tokens for tally in self._tallies.values()),
            generated_tokens=sum(tally.generated_tokens for tally in self._tallies.values()),
            models_loaded=len(loaded),
            leases=sum(len(holding.uses) for holding in ledger.holdings.values()),
            evictions=ledger.n_evictions,
        )

    async def aclose(self) -> None:
        """Unload everything; answers under way end with an error."""
        await self.residents.aclose()

    def _known(self, model_id: str) -> Model:
        """Return a model of the catalog by its id or by the name of a profile on it."""
        known = {model.id: model for model in self.catalog.models()}
        return known.get(model_id) or self.catalog.chat_model(model_id)

    def _chat_loader(self, model: Model) -> "Loader[TransformersChat]":
        def foretell() -> Prospect:
            from lab.pipelines.load import foretell_chat  # noqa: PLC0415 - imports torch

            return foretell_chat(model, self._chat_config)

        def load(form: Quantization, growth: Growth) -> "TransformersChat":
            from lab.pipelines.load import load_chat  # noqa: PLC0415 - imports torch

            key = f"{model.id} as {form} on {growth.device}"
            wanted = Limits(self._chat_config.max_streams, self._chat_config.prefill_tokens)
            limits = self._learned.within(key, wanted)
            config = self._chat_config.model_copy(
                update={"max_streams": limits.streams, "prefill_tokens": limits.prefill_tokens}
            )
            room = Room(growth, growth.wait_s, partial(self._learn, model, growth.device, key))
            return load_chat(model, config, form, self._tallies[model.id], room)

        return Loader(foretell, load)

    def _reservation_loader(self, name: str, request: LeaseRequest) -> "Loader[Reservation]":
        n_bytes = int(request.gb * 1e9)
        device = request.device or self._chat_config.device

        def foretell() -> Prospect:
            from lab.pipelines.reservation import foretell_reservation  # noqa: PLC0415 - torch

            return foretell_reservation(name, device, n_bytes)

        def load(form: Quantization, growth: Growth) -> "Reservation":
            from lab.pipelines.reservation import Reservation  # noqa: PLC0415 - imports torch

            return Reservation(device, n_bytes, request.pid)

        return Loader(foretell, load)

    def _learn(self, model: Model, device: str, key: str, limits: Limits) -> None:
        """Keep what a device that ran out of memory bears; on the engine's thread."""
        self._learned.learn(key, limits)
        reason = (
            f"{device} ran out of memory: from now on at most {limits.streams} answers at a time, "
            f"and {limits.prefill_tokens:,} tokens of a prompt"
        )
        self.residents.ledger.note(DecisionKind.learned, model.id, device, reason)

    def _embedding_loader(self, model: Model) -> "Loader[SentenceEmbedding]":
        def foretell() -> Prospect:
            from lab.pipelines.load import foretell_embedding  # noqa: PLC0415 - imports torch

            return foretell_embedding(model, self._embedding_config)

        def load(form: Quantization, growth: Growth) -> "SentenceEmbedding":
            from lab.pipelines.load import load_embedding  # noqa: PLC0415 - imports torch

            return load_embedding(model, self._embedding_config, self._chat_config.threads)

        return Loader(foretell, load)

    def _rerank_loader(self, model: Model) -> "Loader[Reranker]":
        def foretell() -> Prospect:
            from lab.pipelines.load import foretell_rerank  # noqa: PLC0415 - imports torch

            return foretell_rerank(model, self._rerank_config)

        def load(form: Quantization, growth: Growth) -> "Reranker":
            from lab.pipelines.load import load_rerank  # noqa: PLC0415 - imports torch

            return load_rerank(model, self._rerank_config)

        return Loader(foretell, load)


def _free_bytes(device: str) -> int:
    from lab.pipelines.devices import free_bytes, torch_device  # noqa: PLC0415 - imports torch

    return free_bytes(torch_device(device))


def ledger_of(residency: ResidencyConfig, always: Collection[str] = ()) -> Ledger:
    """Return the account that the settings describe; `always` names models that never leave."""
    budget = None if residency.memory_gb is None else int(residency.memory_gb * 1e9)
    return Ledger(budget, _free_bytes, always=always, pinned=residency.pinned)


def pipeline_factory(
    chat: ChatConfig,
    embedding: EmbeddingConfig,
    residency: ResidencyConfig | None = None,
    *,
    rerank: RerankConfig | None = None,
    on_import: Callable[[], object] = lambda: None,
    learned_file: Path | None = None,
) -> PipelineFactory:
    """Return a factory for the configured models; see `PipelineFactory`."""
    return PipelineFactory(
        chat,
        embedding,
        residency or ResidencyConfig(),
        on_import=on_import,
        learned=LearnedLimits(learned_file),
        rerank=rerank or RerankConfig(),
    )
