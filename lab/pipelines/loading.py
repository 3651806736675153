"""Weights from a folder or the Hugging Face hub, with errors that say what to do."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from lab.errors import ModelLoadError
from lab.pipelines.layer import fuse_layers
from lab.pipelines.packing import pack_linears
from lab.schemas.model import Model

WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What a model needs; other frameworks' copies of the weights are left out."""

CHUNK_BYTES = 1 << 20


def load_causal(
    model: Model, *, device: str, dtype: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    Load a causal language model and its tokenizer.

    Parameters
    ----------
    model : Model
        Catalog entry; its source is a folder or a Hugging Face id.
    device, dtype : str
        As in the settings; `auto` = an accelerator where there is one, and float32 on a CPU.

    Raises
    ------
    ModelLoadError
        When the weights cannot be had or are no causal language model.
    """
    place = torch_device(device)
    chosen = "float32" if dtype == "auto" and place.type == "cpu" else dtype
    with clear_errors(model):
        folder = local_folder(model)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        network = AutoModelForCausalLM.from_pretrained(folder, dtype=chosen)
        network.to(place)
        network.eval().requires_grad_(False)
        fuse_layers(network)
        pack_linears(network)
        return network, tokenizer


def local_folder(model: Model) -> Path:
    """Return the folder of a model's files; download them where the source is no folder."""
    folder = Path(model.source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"No weights for `{model.id}`: {folder} has no config.json; "
                "name a folder that transformers saved, or restore this one."
            )
        return folder
    return Path(
        snapshot_download(model.source, revision=model.revision, allow_patterns=WANTED_FILES)
    )


def torch_device(name: str) -> torch.device:
    """Return the device of that name; `auto` = the accelerator, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def check_sha256(file: Path, expected: str) -> None:
    """Raise `ModelLoadError` unless the file's SHA-256 is the expected one."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != expected:
        raise ModelLoadError(
            f"{file} has SHA-256 {digest.hexdigest()}, expected {expected}; "
            "the weights are damaged or not the official ones. Reinstall their package."
        )


@contextmanager
def clear_errors(model: Model) -> Iterator[None]:
    """Load without progress bars, and turn what loading raises into `ModelLoadError`s."""
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ModelLoadError(
            f"No weights for `{model.id}`: {model.source} is no folder here and could not be "
            f"downloaded ({first_line(error)}). Give the folder of the model, check its "
            "Hugging Face id and the network, or set HF_TOKEN for a gated model."
        ) from error
    except (ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelLoadError(f"`{model.id}` could not be loaded: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
