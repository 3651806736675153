"""What the files of a model tell of it: its window, and what its chat template knows. No torch."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError

from lab.errors import ModelLoadError
from lab.pipelines.files import CONFIG_FILES, WANTED_FILES, local_folder
from lab.pipelines.llama_cpp.gguf_file import gguf_bytes
from lab.schemas.engine import Engine
from lab.schemas.model import Model
from lab.schemas.task import Task

INDEX = "model.safetensors.index.json"
"""Which of several files each tensor is in."""
TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
"""Where a chat template may stand; the first that has one counts."""


def here(model: Model, files: Sequence[str] = WANTED_FILES) -> Path | None:
    """Return the folder of a model's files, or None where not all of them are on this machine."""
    try:
        return local_folder(model, download=False, files=files)
    except (OSError, ModelLoadError, HFValidationError):
        return None


def described(model: Model) -> Model:
    """Return the model with what its files tell; as it is where they are not here."""
    folder = here(model, CONFIG_FILES)
    if folder is None:
        return model
    config = read_json(folder / "config.json")
    found: dict[str, Any] = {"context_length": context_length(config)}
    if model.task is Task.embedding:
        found["dim"] = embedding_dim(folder, config)
    if model.task is Task.chat and (template := chat_template(folder)):
        found |= {"tools": "tools" in template, "thinking": "enable_thinking" in template}
    if model.task is Task.chat:
        found["vision"] = "vision_config" in config
    return model.model_copy(update=found)


def size_on_disk(model: Model) -> int | None:
    """Return the bytes of a model's files, or None where not all that it needs is here."""
    if model.engine is Engine.llama_cpp:
        with suppress(ModelLoadError):
            return gguf_bytes(Path(model.source))
        return None
    folder = here(model)
    if folder is None or not (folder / "config.json").is_file():
        return None
    named = read_json(folder / INDEX).get("weight_map")
    wanted = {folder / str(name) for name in named.values()} if isinstance(named, dict) else set()
    weights = weight_files(folder)
    if not weights or not wanted <= set(weights):
        return None
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def weight_files(folder: Path) -> list[Path]:
    """Return the files of the weights in a folder, by name."""
    return sorted(file for file in folder.glob("*.safetensors") if file.is_file())


def embedding_dim(folder: Path, config: dict[str, Any]) -> int | None:
    """Return the dimensions of a sentence-transformers model's vectors, where its files tell."""
    pooling = read_json(folder / "1_Pooling" / "config.json")
    dim = pooling.get("word_embedding_dimension", config.get("hidden_size"))
    return dim if isinstance(dim, int) and dim > 0 else None


def context_length(config: dict[str, Any]) -> int | None:
    """Return the tokens of the window that a configuration tells; a text part may be inside."""
    inner = config.get("text_config")
    found = config if not isinstance(inner, dict) else {**config, **inner}
    length = found.get("max_position_embeddings")
    return length if isinstance(length, int) and length > 0 else None


def chat_template(folder: Path) -> str | None:
    """Return the chat template of a folder, or None where it has none."""
    for name in TEMPLATE_FILES:
        file = folder / name
        if not file.is_file():
            continue
        if file.suffix == ".jinja":
            return file.read_text(encoding="utf-8")
        if template := _default_template(read_json(file).get("chat_template")):
            return template
    return None


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a file; an empty one where it cannot be read or holds none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _default_template(found: object) -> str | None:
    """Return the one of several named templates that is used when none is named."""
    if isinstance(found, list):
        named = {one.get("name"): one.get("template") for one in found if isinstance(one, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
