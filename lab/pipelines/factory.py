"""
Where pipelines come from: each model is loaded once, when first asked for, and leased.

Importing this module imports no torch; the first load does.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from lab.errors import ConfigError, ConflictError, InputError
from lab.pipelines.catalog import Catalog, OneModel
from lab.pipelines.imaging.models import ImageModels
from lab.pipelines.learned import LearnedLimits
from lab.pipelines.ledger import Ledger
from lab.pipelines.llama_cpp.settings import with_files
from lab.pipelines.loaders.chat import ChatLoader
from lab.pipelines.loaders.embedding import embedding_loader
from lab.pipelines.loaders.rerank import rerank_loader
from lab.pipelines.loaders.reservation import Reservations
from lab.pipelines.loaders.served import llama_cpp_loader, vllm_loader
from lab.pipelines.loaders.speech import speech_loader
from lab.pipelines.loaders.transcription import transcription_loader
from lab.pipelines.remote.endpoints import Endpoints
from lab.pipelines.residency import Loader, Residents
from lab.pipelines.served.models import served_models
from lab.pipelines.speech.asking import SpeechPipeline, TranscriptionPipeline
from lab.pipelines.stats import PipelineStats, stats_of
from lab.pipelines.tally import Tally
from lab.protocols import ChatPipeline, EmbeddingPipeline, RerankPipeline
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.engine import Engine
from lab.schemas.image_config import ImageConfig
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.rerank_config import RerankConfig
from lab.schemas.residency import Residency
from lab.schemas.residency_config import ResidencyConfig
from lab.schemas.residency_update import ResidencyUpdate
from lab.schemas.speech_config import SpeechConfig
from lab.schemas.task import Task
from lab.schemas.transcription_config import TranscriptionConfig
from lab.schemas.vllm_config import VllmConfig

Loaders = Mapping[tuple[Task, Engine], Callable[[Model], Loader[Any, Any]]]
"""How a model is loaded, by what it does and what runs it."""


class PipelineFactory:
    """
    Lease pipelines on the models of a catalog, which share the memory of their devices.

    Parameters
    ----------
    catalog : Catalog
        The models that there are.
    residents : Residents
        Those in memory.
    loaders : mapping
        How each kind of them comes there.
    images : ImageModels
        Leases on the image model.
    endpoints : Endpoints
        Servers with more chat models, which take no memory here.
    reservations : Reservations
        Memory for programs.
    learned : LearnedLimits
        What devices were found to bear.
    tallies : mapping
        The tokens of each model.
    """

    def __init__(
        self,
        catalog: Catalog,
        residents: Residents,
        loaders: Loaders,
        *,
        images: ImageModels,
        endpoints: Endpoints,
        reservations: Reservations,
        learned: LearnedLimits,
        tallies: Mapping[str, Tally],
    ) -> None:
        self.catalog = catalog
        self.residents = residents
        self.images = images
        self.endpoints = endpoints
        self.reserve = reservations.reserve
        self._loaders = dict(loaders)
        self._learned = learned
        self._tallies = tallies

    def chat(
        self, model_id: str, *, purpose: str = "answer", owner: UUID | None = None
    ) -> AbstractAsyncContextManager[ChatPipeline]:
        """Lease a chat model; loads it when nobody has, or asks the server that runs it."""
        model = self.catalog.chat_model(model_id)
        if model.engine is Engine.remote:
            return self.endpoints.lease(model)
        return self._lease(model, purpose, owner)

    def embedding(self) -> AbstractAsyncContextManager[EmbeddingPipeline]:
        """Lease the embedding model; loads it when nobody has."""
        return self._lease(self.catalog.embedding, "embedding")

    def rerank(self, *, owner: UUID | None = None) -> AbstractAsyncContextManager[RerankPipeline]:
        """
        Lease the reranker; loads it when nobody has.

        Raises
        ------
        ConfigError
            If the settings name none.
        """
        model = self.catalog.single(Task.rerank)
        if model is None:
            raise ConfigError(
                "This lab has no reranker: set LAB_RERANK_MODEL to the Hugging Face id or the "
                "folder of a cross-encoder, or of a language model that answers yes or no."
            )
        return self._lease(model, "rerank", owner)

    def transcription(
        self, name: str | None, *, owner: UUID | None = None
    ) -> AbstractAsyncContextManager[TranscriptionPipeline]:
        """Lease a model that transcribes, see `Catalog.doing`; loads it when nobody has."""
        model = self.catalog.doing(Task.transcription, name)
        return self._lease(model, "transcription", owner)

    def speech(
        self, name: str | None, *, owner: UUID | None = None
    ) -> AbstractAsyncContextManager[SpeechPipeline]:
        """Lease a model that speaks, see `Catalog.doing`; loads it when nobody has."""
        return self._lease(self.catalog.doing(Task.speech, name), "speech", owner)

    async def load(self, model_id: str) -> None:
        """Bring a model into memory before anybody asks for it."""
        async with self._lease(self.known(model_id), "load"):
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
        loaded: Mapping[str, Any] = self.residents.loaded
        return [
            loaded[model.id].model if model.id in loaded else model
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
        return stats_of(
            self.residents, self.catalog.models(), self.endpoints, self._tallies.values()
        )

    async def aclose(self) -> None:
        """Unload everything; answers under way end with an error."""
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

    def _lease(
        self, model: Model, purpose: str, owner: UUID | None = None
    ) -> AbstractAsyncContextManager[Any]:
        loader = self._loaders[model.task, model.engine](model)
        return self.residents.lease(model.id, loader, purpose=purpose, owner=owner)


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
    transcription: TranscriptionConfig | None = None,
    speech: SpeechConfig | None = None,
    on_import: Callable[[], object] = lambda: None,
    learned_file: Path | None = None,
    remotes: RemotesConfig | None = None,
    vllm: VllmConfig | None = None,
    llama_cpp: LlamaCppConfig | None = None,
) -> PipelineFactory:
    """Return a factory for the configured models; see `PipelineFactory`."""
    residency = residency or ResidencyConfig()
    image = image or ImageConfig()
    vllm = vllm or VllmConfig()
    llama_cpp = with_files(llama_cpp or LlamaCppConfig(), [chat.model, *chat.models])
    rerank = rerank or RerankConfig()
    transcription = transcription or TranscriptionConfig()
    speech = speech or SpeechConfig()
    others: dict[Task, OneModel] = {
        Task.image: image,
        Task.rerank: rerank,
        Task.transcription: transcription,
        Task.speech: speech,
    }
    catalog = Catalog(chat, embedding, remotes, served_models(vllm, llama_cpp), others)
    # Every turn needs the embedding model: were it to leave, a turn could wait for itself.
    ledger = ledger_of(residency, always=[catalog.embedding.id])
    residents = Residents(ledger, wait_s=residency.wait_s, on_import=on_import)
    images = ImageModels(image, catalog.single(Task.image), residents)
    learned = LearnedLimits(learned_file)
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    loaders: Loaders = {
        (Task.chat, Engine.lab): ChatLoader(chat, learned, tallies, image.max_upload_pixels),
        (Task.chat, Engine.vllm): partial(vllm_loader, vllm, tallies),
        (Task.chat, Engine.llama_cpp): partial(llama_cpp_loader, llama_cpp, tallies),
        (Task.embedding, Engine.lab): partial(embedding_loader, embedding, chat.threads),
        (Task.rerank, Engine.lab): partial(rerank_loader, rerank),
        (Task.transcription, Engine.lab): partial(transcription_loader, transcription),
        (Task.speech, Engine.lab): partial(speech_loader, speech),
        (Task.image, Engine.lab): lambda _: images.loader(),
    }
    return PipelineFactory(
        catalog,
        residents,
        loaders,
        images=images,
        endpoints=Endpoints(catalog.remotes, tallies.__getitem__),
        reservations=Reservations(residents, chat.device, residency.lease_share),
        learned=learned,
        tallies=tallies,
    )
