"""
Where pipelines come from: each model is loaded once, when first asked for, and leased.

Importing this module imports no torch; the first load does.
"""

import threading
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from uuid import UUID

from lab.errors import InputError
from lab.pipelines.catalog import Catalog
from lab.pipelines.ledger import Ledger, Pipeline
from lab.pipelines.need import Prospect
from lab.pipelines.remote.endpoints import Endpoints
from lab.pipelines.residency import Loader, Residents
from lab.pipelines.tally import Tally
from lab.protocols import ChatPipeline, EmbeddingPipeline
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.engine import Engine
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.residency import Residency
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.task import Task
from lab.schemas.vllm_config import VllmConfig

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat
    from lab.pipelines.embedding import SentenceEmbedding
    from lab.pipelines.vllm.chat import VllmChat


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
    remote_streams: dict[str, int]
    """Answers under way at other servers, by endpoint; `active_streams` has them too."""


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
    remotes : RemotesConfig
        Servers with more chat models, which take no memory here.
    vllm : VllmConfig
        Chat models that vLLM runs, in memory of ours.
    on_import : callable
        Called in a thread after a model's libraries were imported.
    """

    def __init__(
        self,
        chat: ChatConfig,
        embedding: EmbeddingConfig,
        residency: ResidencyConfig,
        *,
        remotes: RemotesConfig,
        vllm: VllmConfig,
        on_import: Callable[[], object],
    ) -> None:
        self.catalog = Catalog(chat, embedding, remotes, vllm)
        self._chat_config = chat
        self._embedding_config = embedding
        self._vllm_config = vllm
        self._closes = threading.Event()
        # Every turn needs the embedding model: were it to leave, a turn could wait for itself.
        ledger = ledger_of(residency, always=[self.catalog.embedding.id])
        self.residents = Residents(ledger, wait_s=residency.wait_s, on_import=on_import)
        self._chats = Loader(self._foretell_chat, self._load_chat)
        self._under_vllm = Loader(self._foretell_vllm, self._load_vllm)
        self._embeddings = Loader(self._foretell_embedding, self._load_embedding)
        self._tallies: defaultdict[str, Tally] = defaultdict(Tally)
        self.endpoints = Endpoints(self.catalog.remotes, self._tallies.__getitem__)

    def chat(
        self, model_id: str, *, purpose: str = "answer", owner: UUID | None = None
    ) -> AbstractAsyncContextManager[ChatPipeline]:
        """Lease a chat model; loads it when nobody has, or asks the server that runs it."""
        model = self.catalog.chat_model(model_id)
        if model.engine is Engine.remote:
            return self.endpoints.lease(model)
        if model.engine is Engine.vllm:
            return self.residents.lease(model, self._under_vllm, purpose=purpose, owner=owner)
        return self.residents.lease(model, self._chats, purpose=purpose, owner=owner)

    def embedding(self) -> AbstractAsyncContextManager[EmbeddingPipeline]:
        """Lease the embedding model; loads it when nobody has."""
        return self.residents.lease(self.catalog.embedding, self._embeddings, purpose="embedding")

    async def load(self, model_id: str) -> None:
        """Bring a model into memory before anybody asks for it."""
        model = self._known(model_id)
        async with self.residents.lease(model, self._loader(model), purpose="load"):
            pass

    async def unload(self, model_id: str) -> None:
        """Take a model out of memory; raise `ConflictError` while it is used."""
        await self.residents.unload(self._known(model_id).id)

    def share(self, model_id: str, update: ResidencyUpdate) -> None:
        """Pin a model or end that, and say how early it leaves; holds for later loads too."""
        model = self._known(model_id)
        if update.pinned is not None:
            self.residents.ledger.pin(model.id, pinned=update.pinned)
        if update.priority is not None:
            self.residents.ledger.prioritise(model.id, update.priority)

    def residency(self) -> Residency:
        """Return who holds which memory, and why."""
        return self.residents.ledger.report()

    async def discover(self) -> None:
        """Ask other servers which models they have, where nobody named them."""
        await self.endpoints.discover()

    def models(self) -> list[Model]:
        """Return every model of the catalog; a loaded one says so and has its real lengths."""
        loaded = {name: pipeline.model for name, pipeline in self.residents.loaded.items()}
        return [loaded.get(model.id, model) for model in self.catalog.models()]

    def profiles(self) -> list[ModelProfile]:
        """Return the profiles that come with the lab."""
        return self.catalog.profiles()

    def resolve(self, name: str) -> ModelProfile:
        """Return the profile of that name, or raise `UnknownModelError` with the nearest."""
        return self.catalog.resolve(name)

    def stats(self) -> PipelineStats:
        """Return the load now and tokens since the start."""
        loaded = self.residents.loaded
        chats = [one for one in loaded.values() if one.model.task is Task.chat]
        engines = [
            cast("TransformersChat", one).engine.stats
            for one in chats
            if one.model.engine is Engine.lab
        ]
        under_vllm = [
            cast("VllmChat", one).active for one in chats if one.model.engine is Engine.vllm
        ]
        elsewhere = self.endpoints.active
        ledger = self.residents.ledger
        leases = sum(len(holding.leases) for holding in ledger.holdings.values())
        return PipelineStats(
            active_streams=sum(
                [*(stats.active for stats in engines), *under_vllm, *elsewhere.values()]
            ),
            queued=sum(stats.queued for stats in engines),
            prompt_tokens=sum(tally.prompt_tokens for tally in self._tallies.values()),
            generated_tokens=sum(tally.generated_tokens for tally in self._tallies.values()),
            models_loaded=len(loaded),
            leases=leases + self.endpoints.leases,
            evictions=ledger.n_evictions,
            remote_streams=elsewhere,
        )

    async def aclose(self) -> None:
        """Unload everything; answers under way end with an error."""
        self._closes.set()
        await self.residents.aclose()
        await self.endpoints.aclose()

    def _known(self, model_id: str) -> Model:
        """Return a model that takes memory here, by its id or by the name of a profile on it."""
        known = {model.id: model for model in self.catalog.models()}
        model = known.get(model_id) or self.catalog.chat_model(model_id)
        if model.engine is Engine.remote:
            raise InputError(
                f"`{model.id}` is run by another server ({model.source}): it takes no memory here, "
                "so there is nothing to load, unload or share."
            )
        return model

    def _loader(self, model: Model) -> Loader[Pipeline]:
        if model.task is not Task.chat:
            return self._embeddings
        return self._under_vllm if model.engine is Engine.vllm else self._chats

    def _foretell_chat(self, model: Model) -> Prospect:
        from lab.pipelines.load import foretell_chat  # noqa: PLC0415 - imports torch

        return foretell_chat(model, self._chat_config)

    def _load_chat(self, model: Model, form: Quantization) -> "TransformersChat":
        from lab.pipelines.load import load_chat  # noqa: PLC0415 - imports torch

        return load_chat(model, self._chat_config, form, self._tallies[model.id])

    def _foretell_vllm(self, model: Model) -> Prospect:
        from lab.pipelines.vllm.chat import foretell_vllm  # noqa: PLC0415 - imports torch

        return foretell_vllm(model, self._vllm_config)

    def _load_vllm(self, model: Model, form: Quantization) -> "VllmChat":
        from lab.pipelines.vllm.chat import load_vllm  # noqa: PLC0415 - imports torch

        return load_vllm(model, self._vllm_config, self._tallies[model.id], self._closes)

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
    *,
    remotes: RemotesConfig | None = None,
    vllm: VllmConfig | None = None,
) -> PipelineFactory:
    """Return a factory for the configured models; see `PipelineFactory`."""
    return PipelineFactory(
        chat,
        embedding,
        residency or ResidencyConfig(),
        remotes=remotes or RemotesConfig(),
        vllm=vllm or VllmConfig(),
        on_import=on_import,
    )
