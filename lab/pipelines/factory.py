"""
Where pipelines come from: each model is loaded once, when first asked for, and leased.

Importing this module imports no torch; the first load does.
"""

import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

from lab.errors import ConfigError, ConflictError, InputError, NoRoomError
from lab.pipelines.catalog import Catalog
from lab.pipelines.imaging.drawing import ImagePipeline
from lab.pipelines.imaging.models import ImageModels
from lab.pipelines.learned import LearnedLimits
from lab.pipelines.ledger import Ledger, Occupant
from lab.pipelines.need import Prospect
from lab.pipelines.remote.endpoints import Endpoints
from lab.pipelines.residency import Growth, Loader, Residents
from lab.pipelines.room import Limits, Room
from lab.pipelines.tally import Tally
from lab.protocols import ChatPipeline, EmbeddingPipeline, RerankPipeline
from lab.schemas.chat_config import ChatConfig, Quantization
from lab.schemas.decision_kind import DecisionKind
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.engine import Engine
from lab.schemas.image_config import ImageConfig
from lab.schemas.lease_request import LeaseRequest
from lab.schemas.memory_lease import MemoryLease
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.rerank_config import RerankConfig
from lab.schemas.residency import Residency
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.task import Task
from lab.schemas.vllm_config import VllmConfig
from lab.units import sized

if TYPE_CHECKING:
    from lab.pipelines.chat import TransformersChat
    from lab.pipelines.embedding import SentenceEmbedding
    from lab.pipelines.reranking import Reranker
    from lab.pipelines.reservation import Reservation
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
    image : ImageConfig
        The image model.
    on_import : callable
        Called in a thread after a model's libraries were imported.
    learned : LearnedLimits
        What devices were found to bear.
    rerank : RerankConfig
        The model that ranks documents.

    Attributes
    ----------
    images : ImageModels
        Leases on the image model.
    """

    def __init__(
        self,
        chat: ChatConfig,
        embedding: EmbeddingConfig,
        residency: ResidencyConfig,
        *,
        remotes: RemotesConfig,
        vllm: VllmConfig,
        image: ImageConfig,
        on_import: Callable[[], object],
        learned: LearnedLimits,
        rerank: RerankConfig,
    ) -> None:
        self.catalog = Catalog(chat, embedding, remotes, vllm, image, rerank)
        self._chat_config = chat
        self._embedding_config = embedding
        self._vllm_config = vllm
        self._rerank_config = rerank
        self._max_pixels = image.max_upload_pixels
        self._closes = threading.Event()
        # Every turn needs the embedding model: were it to leave, a turn could wait for itself.
        ledger = ledger_of(residency, always=[self.catalog.embedding.id])
        self.residents = Residents(ledger, wait_s=residency.wait_s, on_import=on_import)
        self.images = ImageModels(image, self.catalog.image, self.residents)
        self._learned = learned
        self._lease_share = residency.lease_share
        self._reserved: dict[str, int] = {}  # bytes that programs have or wait for, by name
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
            under_vllm = self._vllm_loader(model)
            return self.residents.lease(model.id, under_vllm, purpose=purpose, owner=owner)
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
        model = self.known(model_id)
        async with self.residents.lease(model.id, self._loader(model), purpose="load"):
            pass

    async def unload(self, model_id: str) -> None:
        """Take a model out of memory; raise `ConflictError` while it is used."""
        await self.residents.unload(self.known(model_id).id, "asked for by an administrator")

    def share(self, model_id: str, update: ResidencyUpdate) -> None:
        """
        Pin a model or end that, and say how early it leaves; holds for later loads too.

        `relearn` forgets at the next load what the device was found to bear.
        """
        model = self.known(model_id)
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
        self._reserved[name] = int(request.gb * 1e9)
        try:
            async with self.residents.lease(name, loader, purpose=request.purpose, owner=owner):
                holding = self.residents.ledger.holdings[name]
                yield MemoryLease(name=name, device=holding.device, n_bytes=holding.need.total)
        finally:
            del self._reserved[name]

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
            await self.residents.unload(model_id, "removed from the catalog")
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
                await self.residents.unload(model.id, "another revision takes its place")
            except ConflictError:
                self.catalog.add(before)
                raise
        return known

    def residency(self) -> Residency:
        """Return who holds which memory, and why."""
        return self.residents.ledger.report()

    async def discover(self) -> None:
        """Ask other servers which models they have, where nobody named them."""
        await self.endpoints.discover()

    def models(self, *named: str) -> list[Model]:
        """
        Return every model of the catalog; a loaded one says so and has its real lengths.

        Parameters
        ----------
        *named : str
            Models of other servers that are wanted too, though nobody listed them yet.
        """
        loaded = self.residents.loaded
        return [
            cast(
                "ChatPipeline | EmbeddingPipeline | ImagePipeline | RerankPipeline",
                loaded[model.id],
            ).model
            if model.id in loaded
            else model
            for model in self.catalog.models(*named)
        ]

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
        chats = [
            model
            for model in self.catalog.models()
            if model.task is Task.chat and model.id in loaded
        ]
        engines = [
            cast("TransformersChat", loaded[model.id]).engine.stats
            for model in chats
            if model.engine is Engine.lab
        ]
        under_vllm = [
            cast("VllmChat", loaded[model.id]).active
            for model in chats
            if model.engine is Engine.vllm
        ]
        elsewhere = self.endpoints.active
        ledger = self.residents.ledger
        leases = sum(len(holding.uses) for holding in ledger.holdings.values())
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

    def known(self, model_id: str) -> Model:
        """Return a model that takes memory here, by its id or by the name of a profile on it."""
        known = {model.id: model for model in self.catalog.models()}
        model = known.get(model_id) or self.catalog.chat_model(model_id)
        if model.engine is Engine.remote:
            raise InputError(
                f"`{model.id}` is run by another server ({model.source}): it takes no memory here, "
                "so there is nothing to load, unload or share."
            )
        return model

    def _loader(self, model: Model) -> Loader[Occupant]:
        if model.task is Task.image:
            return self.images.loader()
        if model.task is Task.embedding:
            return self._embedding_loader(model)
        if model.task is Task.rerank:
            return self._rerank_loader(model)
        is_vllm = model.engine is Engine.vllm
        return self._vllm_loader(model) if is_vllm else self._chat_loader(model)

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
                update={
                    "device": growth.device,
                    "max_streams": limits.streams,
                    "prefill_tokens": limits.prefill_tokens,
                }
            )
            room = Room(
                may_take=growth,
                could_take=growth.could_take,
                token_bytes=growth.token_bytes,
                wait_s=growth.wait_s,
                learn=partial(self._learn, model, growth.device, key),
            )
            tally = self._tallies[model.id]
            return load_chat(
                model, config, form, tally, room, growth.weight_bytes, self._max_pixels
            )

        return Loader(foretell, load)

    def _vllm_loader(self, model: Model) -> "Loader[VllmChat]":
        def foretell() -> Prospect:
            from lab.pipelines.vllm.chat import foretell_vllm  # noqa: PLC0415 - imports torch

            return foretell_vllm(model, self._vllm_config)

        def load(form: Quantization, growth: Growth) -> "VllmChat":
            from lab.pipelines.vllm.chat import load_vllm  # noqa: PLC0415 - imports torch

            tally = self._tallies[model.id]
            return load_vllm(model, self._vllm_config, growth.device, tally, self._closes)

        return Loader(foretell, load)

    def _reservation_loader(self, name: str, request: LeaseRequest) -> "Loader[Reservation]":
        n_bytes = int(request.gb * 1e9)
        device = request.device or self._chat_config.device

        def foretell() -> Prospect:
            from lab.pipelines.reservation import foretell_reservation  # noqa: PLC0415 - torch

            ahead = foretell_reservation(name, device, n_bytes)
            self._check_share(ahead)
            return ahead

        def load(form: Quantization, growth: Growth) -> "Reservation":
            from lab.pipelines.reservation import Reservation  # noqa: PLC0415 - imports torch

            return Reservation(growth.device, n_bytes, request.pid)

        return Loader(foretell, load, lasts=False)

    def _check_share(self, ahead: Prospect) -> None:
        """Raise `NoRoomError` where programs together would hold more than their share."""
        wanted = sum(self._reserved.values())
        device = max(ahead.devices, key=self.residents.ledger.capacity)
        held = sum(
            holding.need.total
            for holding in self.residents.ledger.holdings.values()
            if holding.name in self._reserved
        )
        most = self._lease_share * (self.residents.ledger.capacity(device) + held)
        rule = (
            f"Programs may hold {sized(most)} of {device} together "
            f"(LAB_RESIDENCY_LEASE_SHARE={self._lease_share:g})"
        )
        if (own := ahead.needs[Quantization.none].total) > most:
            raise InputError(f"{rule}, and this lease is of {sized(own)}. Ask for less.")
        if wanted > most:
            raise NoRoomError(
                f"{rule}, and with this lease it would be {sized(wanted)}. Ask for less, or have "
                "others end their leases."
            )

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

            config = self._embedding_config.model_copy(update={"device": growth.device})
            return load_embedding(model, config, self._chat_config.threads)

        return Loader(foretell, load)

    def _rerank_loader(self, model: Model) -> "Loader[Reranker]":
        def foretell() -> Prospect:
            from lab.pipelines.load import foretell_rerank  # noqa: PLC0415 - imports torch

            return foretell_rerank(model, self._rerank_config)

        def load(form: Quantization, growth: Growth) -> "Reranker":
            from lab.pipelines.load import load_rerank  # noqa: PLC0415 - imports torch

            config = self._rerank_config.model_copy(update={"device": growth.device})
            return load_rerank(model, config)

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
    image: ImageConfig | None = None,
    rerank: RerankConfig | None = None,
    on_import: Callable[[], object] = lambda: None,
    learned_file: Path | None = None,
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
        image=image or ImageConfig(),
        on_import=on_import,
        learned=LearnedLimits(learned_file),
        rerank=rerank or RerankConfig(),
    )
