"""What an image model takes and needs, found out before anything is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import nn

from lab.errors import ModelLoadError, NoRoomError
from lab.pipelines.devices import free_bytes, torch_device
from lab.pipelines.imaging.calling import parameters, tile, traits_of
from lab.pipelines.imaging.drawing import Traits
from lab.pipelines.imaging.folder import Folder, check_weights, n_weights, open_folder
from lab.pipelines.imaging.forms import ImageForm, ImageProspect
from lab.pipelines.imaging.loras import named, weights_file
from lab.pipelines.imaging.quiet import quietly
from lab.pipelines.imaging.rehearsal import networks_of, rehearse, without_storage
from lab.pipelines.loading import clear_errors, first_line
from lab.pipelines.need import MemoryNeed
from lab.schemas.image_config import Dtype, ImageConfig, LowMemory
from lab.schemas.model import Model
from lab.units import sized

BYTES_A_PIXEL = 1000
"""What decoding has alive for each pixel, by number of bytes of a value: 250 channels, 4 times."""


@dataclass(frozen=True)
class Foresight:
    """What is known of a model before it is loaded."""

    traits: Traits
    prospect: ImageProspect


def foresee(model: Model, config: ImageConfig) -> Foresight:
    """
    Return what a model takes and needs for the largest picture; blocks.

    Raises
    ------
    ModelLoadError
        When it cannot be had, is no pipeline that makes pictures, or its files are damaged.
    """
    device = torch_device(config.device)
    dtype = dtype_of(config.dtype, device)
    with clear_errors(model), quietly():
        folder = open_folder(model)
        pipeline = _built(model, folder, dtype)
        _check_steps(model, pipeline)
        networks = networks_of(pipeline)
        for name, network in networks.items():
            n_expected = sum(weight.numel() for weight in network.parameters())
            check_weights(model, folder.path / name, n_expected, name)
        traits = traits_of(pipeline)
        side = largest_side(config, traits.multiple)
        at_once, told = _activations(pipeline, side, dtype)
        needs = forms(networks, at_once, _lora_bytes(config, dtype), on_cpu=device.type == "cpu")
    step = f"to make a picture of {side} × {side}{told}"
    return Foresight(traits, _prospect(model, config, device, step, needs))


def largest_side(config: ImageConfig, multiple: int) -> int:
    """Return the side of the largest square picture."""
    return max(min(isqrt(config.max_pixels), config.max_side) // multiple, 1) * multiple


def dtype_of(wanted: Dtype, device: torch.device) -> torch.dtype:
    """Return the number format of the weights."""
    if wanted is Dtype.auto:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found: torch.dtype = getattr(torch, wanted.value)
    return found


def forms(
    networks: Mapping[str, nn.Module],
    activations: tuple[int, int],
    lora_bytes: int,
    *,
    on_cpu: bool,
) -> dict[ImageForm, MemoryNeed]:
    """
    Return what a pipeline needs in each form that a device has.

    Parameters
    ----------
    networks : mapping
        Its networks, by name.
    activations : tuple of int
        Bytes alive at once besides weights, decoded whole and in tiles.
    lora_bytes : int
        Bytes of the largest LoRA weights.
    on_cpu : bool
        Whether the device is the host, to which nothing can be moved out.
    """
    sizes = [weight_bytes(network) for network in networks.values()]
    layers = [_own_bytes(part) for network in networks.values() for part in network.modules()]
    whole, tiled = activations
    need = MemoryNeed(sum(sizes) + lora_bytes, 0, whole)
    if on_cpu:
        less = {ImageForm.tiled: MemoryNeed(need.weights, 0, tiled)}
    else:
        less = {
            ImageForm.tiled: MemoryNeed(need.weights, 0, tiled),
            ImageForm.parts: MemoryNeed(max(sizes) + lora_bytes, 0, tiled),
            ImageForm.layers: MemoryNeed(max(layers) + lora_bytes, 0, tiled),
        }
    return {ImageForm.whole: need, **less}


def weight_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and buffers; those that are tied count once."""
    tensors = {id(t): t for t in (*network.parameters(), *network.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def _own_bytes(part: nn.Module) -> int:
    own = (*part.parameters(recurse=False), *part.buffers(recurse=False))
    return sum(tensor.nbytes for tensor in own)


def _built(model: Model, folder: Folder, dtype: torch.dtype) -> Any:
    """Return the pipeline without storage, or raise for files that contradict each other."""
    try:
        return without_storage(folder, dtype)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelLoadError(
            f"`{model.id}` could not be loaded: the parts of {folder.path} are none of a "
            f"{folder.pipeline.__name__} ({first_line(error)}); restore the folder."
        ) from error


def _activations(pipeline: Any, side: int, dtype: torch.dtype) -> tuple[tuple[int, int], str]:
    """Return bytes alive, decoded whole and in tiles, and how that is known where not rehearsed."""
    try:
        whole = rehearse(pipeline, side)
        if not tile(pipeline, side):
            return (whole, whole), ""
        return (whole, min(rehearse(pipeline, side), whole)), ""
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError):
        # Some pipelines look at values, of which there are none here.
        estimate = side * side * BYTES_A_PIXEL * dtype.itemsize
        return (estimate, estimate), " (estimated, since it cannot be rehearsed)"


def _prospect(
    model: Model,
    config: ImageConfig,
    device: torch.device,
    step: str,
    needs: Mapping[ImageForm, MemoryNeed],
) -> ImageProspect:
    offered = _offered(model, config.low_memory, device, needs)
    advice = "Choose a smaller model, a device with more memory, a smaller LAB_IMAGE_MAX_PIXELS" + (
        ", or LAB_IMAGE_LOW_MEMORY=auto." if config.low_memory is LowMemory.off else "."
    )
    return ImageProspect(model.id, [str(device)], step, advice, offered)


def _offered(
    model: Model,
    low_memory: LowMemory,
    device: torch.device,
    needs: Mapping[ImageForm, MemoryNeed],
) -> dict[ImageForm, MemoryNeed]:
    """Return the forms that the settings let, and the host's memory bears."""
    if low_memory is LowMemory.off:
        return {ImageForm.whole: needs[ImageForm.whole]}
    forms: dict[ImageForm, MemoryNeed] = dict(needs)
    if low_memory is LowMemory.on:
        del forms[ImageForm.whole]
    host, weights = free_bytes(torch.device("cpu")), needs[ImageForm.whole].weights
    if device.type == "cpu" or weights <= host:
        return forms
    forms = {f: need for f, need in forms.items() if f in {ImageForm.whole, ImageForm.tiled}}
    if not forms:
        raise NoRoomError(
            f"`{model.id}` needs {sized(weights)} of the host's memory to run with less of the "
            f"device's, and {sized(host)} are free there; set LAB_IMAGE_LOW_MEMORY=auto."
        )
    return forms


def _lora_bytes(config: ImageConfig, dtype: torch.dtype) -> int:
    """Return the bytes of the largest LoRA weights; broken ones are told of when asked for."""
    sizes = [0]
    for name, source in named(config.loras).items():
        try:
            sizes.append(n_weights(f"The LoRA `{name}`", weights_file(name, source)))
        except ModelLoadError:
            continue
    return max(sizes) * dtype.itemsize


def _check_steps(model: Model, pipeline: Any) -> None:
    """Raise for a pipeline that cannot be stopped between its steps."""
    if "callback_on_step_end" not in parameters(pipeline):
        raise ModelLoadError(
            f"`{model.id}` is a {type(pipeline).__name__}, which tells of none of its steps, so "
            "that nobody could stop it; choose another model."
        )
