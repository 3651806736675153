"""Weights from a folder or the Hugging Face hub, with errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from lab.errors import ModelLoadError, NoRoomError
from lab.pipelines.building import BUILDING
from lab.pipelines.cache import GRAIN
from lab.pipelines.devices import candidates, torch_device
from lab.pipelines.files import ABSENT, absent, file_bytes, local_folder
from lab.pipelines.layer import fuse_layers
from lab.pipelines.memory import auto_class, layer_sizes, memory_needs, sees, without_storage
from lab.pipelines.need import Prospect, smaller
from lab.pipelines.offload import device_map
from lab.pipelines.packing import pack_linears, packs
from lab.pipelines.sight import Sight
from lab.schemas.chat_config import ChatConfig, Dtype, Quantization
from lab.schemas.model import Model


def foretell_chat(
    model: Model, config: ChatConfig, *, download: bool = True
) -> Prospect[Quantization]:
    """
    Return what a chat model will need to take a prompt step, from its configuration alone.

    Of a model that is published quantized the size of its files is needed too; with `download`
    they are fetched where they are not here.

    Raises
    ------
    ModelLoadError
        When what is needed cannot be had, is of no causal language model, or is quantized as it is
        published and another form is asked for.
    """
    with clear_errors(model):
        devices = candidates(config.device)
        device = devices[0]
        if Path(model.source).is_dir():
            local_folder(model)  # which says what a folder lacks
        network_config = AutoConfig.from_pretrained(model.source, revision=model.revision)
        dtype = torch_dtype(network_config, config.dtype, device)
        window = int(network_config.get_text_config(decoder=True).max_position_embeddings)
        n_tokens = min(config.prefill_tokens, window)
        needs = memory_needs(network_config, dtype, n_tokens=n_tokens, packed=packs(device, dtype))
        wanted = config.quantization
        if is_quantized(network_config):
            wanted = as_published(model, wanted)
            weights = file_bytes(local_folder(model, download=download))
            needs = {wanted: replace(needs[Quantization.none], weights=weights)}
    sizes = layer_sizes(without_storage(network_config, dtype))
    step = f"to take {n_tokens:,} tokens of a prompt"
    advice = smaller("LAB_CHAT_PREFILL_TOKENS")
    return Prospect(
        model.id,
        [str(one) for one in devices],
        step,
        advice,
        needs,
        None if wanted is Quantization.auto else wanted,
        layer_bytes=max(sizes, default=0),
        n_layers=len(sizes),
        token_bytes=next(iter(needs.values())).cache // (-(-n_tokens // GRAIN) * GRAIN),
    )


def load_sight(
    model: Model, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_pixels: int
) -> Sight | None:
    """
    Return how a model sees; None for one that reads text only.

    Raises
    ------
    ModelLoadError
        When its processor cannot be had.
    """
    if not sees(network.config):
        return None
    with clear_errors(model):
        folder = local_folder(model)
        pictures = AutoImageProcessor.from_pretrained(folder, backend="pil")
        processor = AutoProcessor.from_pretrained(
            folder, image_processor=pictures, tokenizer=tokenizer
        )
        if not hasattr(processor, "image_token"):
            raise ValueError(f"its {type(processor).__name__} has no token for a picture")
        rope = getattr(network.config.get_text_config(decoder=True), "rope_parameters", None)
        if "mrope_section" in str(rope) or "token_type_ids" in processor.model_input_names:
            raise ValueError(
                "its decoder places pictures in several dimensions, or looks at them in both "
                "directions, which the lab's batch does not; run it under vLLM"
            )
        return Sight(network, processor, max_pixels)


def load_causal(
    model: Model,
    config: ChatConfig,
    form: Quantization = Quantization.none,
    weight_bytes: int = 0,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """
    Load a causal language model and its tokenizer.

    Parameters
    ----------
    model : Model
        Catalog entry; its source is a folder or a Hugging Face id.
    config : ChatConfig
        Device and number format of the weights.
    form : Quantization
        Of the weights.
    weight_bytes : int
        What of them may lie on the device where they are offloaded.

    Raises
    ------
    ModelLoadError
        When the weights cannot be had, or are no causal language model.
    """
    device = torch_device(config.device)
    with clear_errors(model):
        folder = local_folder(model)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        network_config = AutoConfig.from_pretrained(folder)
        dtype = torch_dtype(network_config, config.dtype, device)
        network = built(folder, network_config, dtype, form, device, weight_bytes)
        if device.type == "cuda":  # cuDNN plans each new length of a prompt anew, some 80 ms
            torch.backends.cuda.enable_cudnn_sdp(enabled=False)
        network.eval().requires_grad_(False)
        if form is not Quantization.offload:  # whose layers have no weights to take
            fuse_layers(network)
            pack_linears(network)
        return network, tokenizer


def is_quantized(network_config: PretrainedConfig) -> bool:
    """Return whether a model's weights are quantized as they are published."""
    return getattr(network_config, "quantization_config", None) is not None


def as_published(model: Model, wanted: Quantization) -> Quantization:
    """Return `none` for a model that is quantized as it is published; raise for another wish."""
    if wanted not in {Quantization.none, Quantization.auto}:
        raise ModelLoadError(
            f"`{model.id}` is quantized as it is published, and {wanted} was asked for: set "
            "LAB_CHAT_QUANTIZATION to none, or choose the model unquantized."
        )
    return Quantization.none


def built(
    folder: Path,
    network_config: PretrainedConfig,
    dtype: torch.dtype,
    form: Quantization,
    device: torch.device,
    weight_bytes: int = 0,
) -> PreTrainedModel:
    """Return the network of a folder in a form, on a device."""
    place = placing(network_config, dtype, form, device, weight_bytes)
    with BUILDING:
        network: PreTrainedModel = auto_class(network_config).from_pretrained(
            folder, dtype=dtype, **place
        )
    return network


def placing(
    network_config: PretrainedConfig,
    dtype: torch.dtype,
    form: Quantization,
    device: torch.device,
    weight_bytes: int,
) -> dict[str, Any]:
    """Return how `from_pretrained` puts a network of a form onto a device."""
    whole = {"device_map": {"": device}}
    match form:
        case Quantization.none:
            return {} if device.type == "cpu" else whole
        case Quantization.offload:
            getLogger("accelerate").setLevel(ERROR)  # that some weights lie elsewhere is meant
            network = without_storage(network_config, dtype)
            return {"device_map": device_map(network, device, weight_bytes)}
        case _:
            quantization = BitsAndBytesConfig(
                load_in_8bit=form is Quantization.int8,
                load_in_4bit=form is Quantization.nf4,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=dtype,
            )
            return {"quantization_config": quantization, **whole}


def torch_dtype(
    network_config: PretrainedConfig, wanted: Dtype, device: torch.device
) -> torch.dtype:
    """Return the number format of the weights; `auto` = float32 on a CPU, else the model's own."""
    if wanted is not Dtype.auto:
        return cast("torch.dtype", getattr(torch, wanted.value))
    own = network_config.get_text_config(decoder=True).dtype
    return own if own is not None and device.type != "cpu" else torch.float32


@contextmanager
def clear_errors(model: Model) -> Iterator[None]:
    """Load without progress bars, and turn what loading raises into `ModelLoadError`s."""
    logging.disable_progress_bar()
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise NoRoomError(
            f"`{model.id}` found no memory left while it was loaded ({first_line(error)}): others "
            "took some meanwhile, or it needs more than was foretold. Free some and try again."
        ) from error
    except ABSENT as error:
        raise absent(model, first_line(error)) from error
    except (ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ModelLoadError(f"`{model.id}` could not be loaded: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
