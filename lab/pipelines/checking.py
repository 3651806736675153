"""Whether the files of a model are such that the lab can run it; no weights are loaded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open

from lab.errors import InputError, cut, nearest
from lab.pipelines.description import INDEX, chat_template, embedding_dim, read_json, weight_files
from lab.pipelines.speech.traits import ears_of, voices_of
from lab.protocols import EMBEDDING_DIM
from lab.schemas.model import Model
from lab.schemas.task import Task

DTYPES: Final = ("float32", "bfloat16", "float16", "float64")
"""Number formats that a configuration may name for its weights."""
TENSOR_DTYPES: Final = frozenset(
    {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U8", "BOOL"}
)
"""Number formats that tensors in files may have; packed and indexing ones are among them."""
SENTENCE_MODULES: Final = "modules.json"
"""What sentence-transformers writes, and no other library."""


def check_config(model: Model, folder: Path) -> None:
    """
    Check what a model's small files say of it; its weights need not be there.

    Raises
    ------
    InputError
        If it is none that the lab runs for its task, or an unknown number format is named.
    """
    config = read_json(folder / "config.json")
    if not config:
        raise InputError(
            f"`{model.id}` has no readable config.json in {folder}; give a folder that "
            "transformers saved, or restore the file."
        )
    _check_dtype(model, config)
    match model.task:
        case Task.chat:
            _check_chat(model, folder, config)
        case Task.transcription:
            ears_of(model, folder)
        case Task.speech:
            voices_of(model, folder)
        case _:
            _check_embedding(model, folder, config)


def check_weights(model: Model, folder: Path) -> None:
    """
    Check that the weights of a model are whole; reads the heads of its files only.

    Raises
    ------
    InputError
        With the file that is missing, truncated, corrupt, or of an unknown number format.
    """
    files = weight_files(folder)
    if not files:
        raise InputError(
            f"`{model.id}` has no weights in {folder}: expected one or more *.safetensors files; "
            "restore them, or convert those of another format: `lab models convert`."
        )
    held: set[str] = set()
    for file in files:
        held |= _checked_tensors(model, file)
    wanted = read_json(folder / INDEX).get("weight_map")
    missing = sorted(set(wanted) - held) if isinstance(wanted, dict) else []
    if missing:
        raise InputError(
            f"`{model.id}` lacks {len(missing)} tensors that {INDEX} names, such as "
            f"`{missing[0]}`; fetch its files anew."
        )


def _check_dtype(model: Model, config: dict[str, Any]) -> None:
    for part in (config, *_parts(config)):
        named = part.get("dtype", part.get("torch_dtype"))
        name = str(named).removeprefix("torch.")
        if named is not None and name not in DTYPES:
            raise InputError(
                f"`{model.id}` names the unknown dtype {cut(repr(named))} in its config.json."
                f"{nearest(name, DTYPES)} Known: {', '.join(DTYPES)}."
            )


def _parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    inner = config.get("text_config")
    if isinstance(inner, dict):
        yield inner


def _check_chat(model: Model, folder: Path, config: dict[str, Any]) -> None:
    from transformers.models.auto.modeling_auto import (  # noqa: PLC0415 - imports torch
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    known = {
        name
        for kinds in (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
        for names in kinds.values()
        for name in ((names,) if isinstance(names, str) else names)
    }
    found = [str(name) for name in config.get("architectures") or []]
    if not set(found) & known:
        raise InputError(
            f"`{model.id}` is no causal language model that transformers knows: its config.json "
            f"names {', '.join(found) or 'no architecture'}. A chat model is expected, such as "
            "LlamaForCausalLM; add one that makes embeddings with `--task embedding`."
        )
    if chat_template(folder) is None:
        raise InputError(
            f"`{model.id}` has no chat template, so it cannot chat; choose an instruction-tuned "
            "model, or add a chat_template.jinja to its folder."
        )


def _check_embedding(model: Model, folder: Path, config: dict[str, Any]) -> None:
    if not (folder / SENTENCE_MODULES).is_file():
        raise InputError(
            f"`{model.id}` is no model of sentence-transformers: {folder} has no "
            f"{SENTENCE_MODULES}. Add one that chats with `--task chat`."
        )
    dim = embedding_dim(folder, config)
    if dim is not None and dim > EMBEDDING_DIM:
        raise InputError(
            f"`{model.id}` makes vectors of {dim} dimensions, and the lab stores at most "
            f"{EMBEDDING_DIM}; choose a smaller embedding model."
        )


def _checked_tensors(model: Model, file: Path) -> set[str]:
    """Return the names of the tensors in a file, which is whole."""
    try:
        with safe_open(file, framework="np") as tensors:
            dtypes = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"`{model.id}` has the damaged file {file.name}: {error}. It is truncated or no "
            "safetensors file; fetch it anew."
        ) from error
    for name, dtype in dtypes.items():
        if dtype not in TENSOR_DTYPES:
            raise InputError(
                f"`{model.id}` has `{name}` in {file.name} in the unknown dtype {dtype}; known: "
                f"{', '.join(sorted(TENSOR_DTYPES))}."
            )
    return set(dtypes)
