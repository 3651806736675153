"""What the settings say of models in GGUF, under llama.cpp."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from lab.errors import ModelLoadError
from lab.pipelines.llama_cpp.gguf_file import GgufModel, read_gguf
from lab.pipelines.served.command import check_no_name_twice, found_command, options
from lab.schemas.engine import Engine
from lab.schemas.llama_cpp_config import LlamaCppConfig
from lab.schemas.llama_cpp_model import LlamaCppModel
from lab.schemas.model import Model
from lab.schemas.task import Task

PREFIX: Final = "llama.cpp/"
ALL_LAYERS: Final = 999
VARIABLES: Final = {
    "LLAMA_ARG_CACHE_RAM": "0",
    "LLAMA_ARG_LOAD_MODE": "none",
    "LLAMA_ARG_NO_MMAP": "1",  # what it was called before
}
"""
What keeps its memory in the account: no conversations set aside elsewhere, and no mapped files,
whose room counts as free. As variables, of which each version reads those that it knows.
"""


def is_gguf(name: str) -> bool:
    """Return whether a model is named as a file in GGUF."""
    return name.lower().endswith(".gguf")


def file_of(name: str) -> str:
    """Return the path of a file, the same however it is written."""
    return str(Path(name).expanduser().resolve())


def model_id(model: LlamaCppModel) -> str:
    """Return what requests call a model."""
    return model.name or PREFIX + Path(model.model).stem


def settings_of(model: Model, config: LlamaCppConfig) -> LlamaCppModel:
    """Return what the settings say of a model of the catalog."""
    return next(one for one in config.models if model_id(one) == model.id)


def with_files(config: LlamaCppConfig, names: Iterable[str]) -> LlamaCppConfig:
    """
    Return the settings with those of some models that are files in GGUF, with the defaults.

    Files are named by their whole paths in it.
    """
    models = [one.model_copy(update={"model": file_of(one.model)}) for one in config.models]
    known = {one.model for one in models}
    files = dict.fromkeys(file_of(name) for name in names if is_gguf(name))
    more = [LlamaCppModel(model=file) for file in files if file not in known]
    return config.model_copy(update={"models": [*models, *more]})


def llama_cpp_models(config: LlamaCppConfig) -> list[Model]:
    """
    Return the catalog's entries of the models.

    Raises
    ------
    ConfigError
        If two have one name.
    """
    models = [
        Model(
            id=model_id(one),
            task=Task.chat,
            source=one.model,
            engine=Engine.llama_cpp,
            description=f"{Path(one.model).name} under llama.cpp.",
            **_told(one),
        )
        for one in config.models
    ]
    check_no_name_twice(models, "llama_cpp.models")
    return models


def window_of(model: LlamaCppModel, told: GgufModel) -> int:
    """Return the tokens of a model's window."""
    return min(model.max_length, told.context_length)


def _told(model: LlamaCppModel) -> dict[str, Any]:
    """Return what the catalog has from a model's file; nothing where that cannot be read now."""
    try:
        told = read_gguf(Path(model.model))
    except ModelLoadError:  # which is told to who asks for the model
        return {}
    return {
        "context_length": window_of(model, told),
        "tools": "tools" in told.template if told.template else None,
        "thinking": "enable_thinking" in told.template if told.template else None,
    }


def find_server(
    config: LlamaCppConfig, model: LlamaCppModel, search: str | None = None
) -> list[str]:
    """
    Return how llama.cpp's server is started.

    Raises
    ------
    ModelLoadError
        If there is no such program in these folders; None = those of `PATH`.
    """
    refusal = (
        f"`{model_id(model)}` needs llama.cpp's server, and there is no program "
        f"`{config.command[0]}` here: install llama.cpp (a package of it, its releases, or "
        "`scripts/llama-server`, which builds it), or say by LAB_LLAMA_CPP_COMMAND how it is "
        "started."
    )
    return found_command(config.command, search, refusal)


def serve_command(
    config: LlamaCppConfig,
    model: LlamaCppModel,
    *,
    port: int,
    length: int,
    on_cpu: bool,
    search: str,
) -> list[str]:
    """
    Return the command that serves a model on a port of this machine.

    Parameters
    ----------
    config : LlamaCppConfig
        How llama.cpp's server is started.
    model : LlamaCppModel
        What it runs.
    port : int
        Where it answers.
    length : int
        Tokens of the window of each answer.
    on_cpu : bool
        Whether it is kept off the accelerators of the machine.
    search : str
        Folders in which programs are looked for, as in `PATH`.

    Raises
    ------
    ModelLoadError
        If there is no such program.
    """
    command = find_server(config, model, search)
    given = options(
        {
            "model": model.model,
            "alias": model_id(model),
            "host": "127.0.0.1",
            "port": port,
            "ctx-size": length * model.streams,
            "parallel": model.streams,
            "device": "none" if on_cpu else None,
            "gpu-layers": 0 if on_cpu else ALL_LAYERS,
        }
    )
    return [*command, *given, "--jinja", *model.arguments]
