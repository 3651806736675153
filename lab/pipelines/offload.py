"""Decoder layers that lie elsewhere than on the device, and are fetched as each is needed."""

from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel


def decoder_layers(network: PreTrainedModel) -> tuple[str, nn.ModuleList] | None:
    """Return the name and the list of a network's decoder layers; None where it has no such."""
    n_layers = network.config.get_text_config(decoder=True).num_hidden_layers
    lists = (item for item in network.named_modules() if isinstance(item[1], nn.ModuleList))
    return next(((name, found) for name, found in lists if len(found) == n_layers), None)


def module_bytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers, tied ones once."""
    tensors = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def device_map(network: PreTrainedModel, device: torch.device, n_bytes: int) -> dict[str, str]:
    """
    Return where each part of a network goes: first layers and all else on the device, the rest not.

    Parameters
    ----------
    network : PreTrainedModel
        Without storage.
    device : torch.device
        Where it runs. Layers that it has no room for lie in the CPU's memory, or on disk where it
        is the CPU.
    n_bytes : int
        What may lie on it.
    """
    found = decoder_layers(network)
    if found is None:
        raise ValueError("it has no decoder layers that could be offloaded")
    prefix, layers = found
    left = n_bytes - (module_bytes(network) - module_bytes(layers))
    elsewhere = "disk" if device.type == "cpu" else "cpu"
    places = dict.fromkeys(others(network, prefix), str(device))
    for i, layer in enumerate(layers):
        left -= module_bytes(layer)
        places[f"{prefix}.{i}"] = str(device) if left >= 0 else elsewhere
    return places


def others(module: nn.Module, prefix: str, name: str = "") -> Iterator[str]:
    """Yield the names of the largest parts of a module that have no decoder layer."""
    for child_name, child in module.named_children():
        full = f"{name}.{child_name}" if name else child_name
        if full == prefix:
            continue
        if prefix.startswith(f"{full}."):
            yield from others(child, prefix, full)
        else:
            yield full


def is_offloaded(network: nn.Module) -> bool:
    """Return whether some of a network's weights are fetched as they are needed."""
    return any(parameter.is_meta for parameter in network.parameters())
