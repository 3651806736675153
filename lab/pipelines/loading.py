"""Weights from a folder or the Hugging Face hub, with errors that say what to do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch
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
from lab.pipelines.files import local_folder
from lab.pipelines.layer import fuse_layers
from lab.pipelines.packing import pack_linears
from lab.schemas.model import Model

BUILDING: Final = threading.Lock()
"""
Held while a network is built: transformers patches torch meanwhile, for all threads, and of two
networks at once one may be left without its weights.
"""


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
        with BUILDING:
            network = AutoModelForCausalLM.from_pretrained(folder, dtype=chosen)
        network.to(place)
        if place.type == "cuda":  # cuDNN plans each new length of a prompt anew, some 80 ms
            torch.backends.cuda.enable_cudnn_sdp(enabled=False)
        network.eval().requires_grad_(False)
        fuse_layers(network)
        pack_linears(network)
        return network, tokenizer


def torch_device(name: str) -> torch.device:
    """Return the device of that name; `auto` = the accelerator, else the CPU."""
    if name != "auto":
        return torch.device(name)
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


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
