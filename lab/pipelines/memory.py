"""
What a model needs of a device's memory, found out before anything is loaded.

The network is built without storage (on torch's meta device), which is exact for any architecture,
and its longest step is rehearsed there: every operation runs, allocates nothing, and what would be
alive at once is counted.
"""

import weakref
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from lab.pipelines.attention import AttentionMasks
from lab.pipelines.building import BUILDING
from lab.pipelines.cache import SlotCache
from lab.pipelines.need import MemoryNeed
from lab.pipelines.offload import decoder_layers, module_bytes
from lab.schemas.chat_config import Quantization

NF4_BLOCK: Final = 64
"""Weights that share a scale; the scales are float32 (Dettmers et al., QLoRA, 2023, section 3)."""


def memory_needs(
    config: PretrainedConfig, dtype: torch.dtype, *, n_tokens: int, packed: bool = False
) -> dict[Quantization, MemoryNeed]:
    """
    Return what a causal language model needs to take a prompt, in each form, the largest first.

    Parameters
    ----------
    config : PretrainedConfig
        Of the model.
    dtype : torch.dtype
        Of the weights that are not quantized, of keys, values and activations.
    n_tokens : int
        Tokens of a prompt that is prefilled in one step.
    packed : bool
        Whether linear layers will be packed; a head that is the embeddings' is then a copy.

    Raises
    ------
    ModelLoadError
        If the lab's batch cannot run such a model.
    """
    return dict(_memory_needs(Described(config), dtype, n_tokens, packed))


class Described:
    """A configuration by what it says: of two that say the same, one is looked at."""

    def __init__(self, config: PretrainedConfig) -> None:
        self.config = config
        self._said = f"{type(config).__name__} {config.to_json_string(use_diff=False)}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Described) and other._said == self._said

    def __hash__(self) -> int:
        return hash(self._said)


@lru_cache(maxsize=64)
def _memory_needs(
    described: Described, dtype: torch.dtype, n_tokens: int, packed: bool
) -> dict[Quantization, MemoryNeed]:
    """Find out what `memory_needs` returns; models that come and go are asked for it each time."""
    config = described.config
    network = without_storage(config, dtype)
    AttentionMasks.of(network)
    try:
        cache, activations = rehearse(network, n_tokens)
        if sees(config):
            activations = max(activations, picture_bytes(config, dtype))
    except RuntimeError:  # some layers (experts) compute in bfloat16 alone where nothing is stored
        wider = dtype.itemsize / torch.bfloat16.itemsize
        halves = rehearse(without_storage(config, torch.bfloat16), n_tokens)
        cache, activations = (int(wider * n_bytes) for n_bytes in halves)
    layers = quantized(network)
    # Multiplied by more than one row, a layer in 4 bits is unfolded for the moment.
    unfolded = max((x.weight.numel() * dtype.itemsize for x in layers), default=0)
    copied = tied_head_bytes(network) if packed else 0
    needs = {
        form: MemoryNeed(
            weight_bytes(network, form) + copied,
            cache,
            activations + (unfolded if form is Quantization.nf4 else 0),
        )
        for form in (Quantization.none, Quantization.int8, Quantization.nf4)
    }
    if sizes := layer_sizes(network):
        # Without any layer; the one that is fetched is alive besides.
        others = module_bytes(network) - sum(sizes)
        needs[Quantization.offload] = MemoryNeed(others, cache, activations + max(sizes))
    return needs


def layer_sizes(network: PreTrainedModel) -> list[int]:
    """Return the bytes of each decoder layer; none where a network has no list of them."""
    found = decoder_layers(network)
    return [module_bytes(layer) for layer in found[1]] if found else []


def picture_bytes(config: PretrainedConfig, dtype: torch.dtype) -> int:
    """
    Return about what is alive while a model looks at a picture; its tower cannot be rehearsed.

    Of each patch the hidden states go in and out of a layer, and queries, keys, values and the
    wider middle of its perceptron are there besides.
    """
    vision = config.vision_config
    n_patches = (vision.image_size // vision.patch_size) ** 2
    of_a_patch = 6 * vision.hidden_size + 2 * vision.intermediate_size
    return n_patches * of_a_patch * dtype.itemsize


def encoder_need(
    config: PretrainedConfig, dtype: torch.dtype, *, n_texts: int, n_tokens: int
) -> MemoryNeed:
    """
    Return what an encoder needs to embed a batch.

    Parameters
    ----------
    config : PretrainedConfig
        Of the model.
    dtype : torch.dtype
        Of weights and activations.
    n_texts, n_tokens : int
        Texts of a batch, and tokens of each.
    """
    return batch_need(AutoModel, config, dtype, n_texts=n_texts, n_tokens=n_tokens)


def batch_need(
    auto_class: Any,
    config: PretrainedConfig,
    dtype: torch.dtype,
    *,
    n_texts: int,
    n_tokens: int,
    masked: bool = False,
    **options: Any,
) -> MemoryNeed:
    """
    Return what a network needs for a batch of texts of which nothing is kept.

    Parameters
    ----------
    auto_class : type
        Of transformers: what makes the network.
    config : PretrainedConfig
        Of the model.
    dtype : torch.dtype
        Of weights and activations.
    n_texts, n_tokens : int
        Texts of a batch, and tokens of each.
    masked : bool
        Whether it makes a mask of (B, 1, T, T), as it does for texts of different lengths.
    **options
        Of its forward pass.
    """
    with BUILDING, torch.device("meta"):
        network: PreTrainedModel = auto_class.from_config(config, dtype=dtype)
    inputs = torch.zeros((n_texts, n_tokens), dtype=torch.long, device="meta")
    alive = Alive(network.eval())
    with torch.inference_mode(), alive:
        if masked:  # the finished one: of others the values would be looked at
            shape = (n_texts, 1, n_tokens, n_tokens)
            options["attention_mask"] = torch.ones(shape, dtype=torch.bool, device="meta")
        network(input_ids=inputs, **options)
    return MemoryNeed(weight_bytes(network, Quantization.none), 0, alive.peak)


def network_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's weights as they lie in memory, packed or with scales."""
    found: dict[int, Tensor] = {}
    for module in network.modules():
        parts = (vars(module), module._parameters, module._buffers)
        for value in (value for part in parts for value in part.values()):
            # bitsandbytes keeps the scales of a quantized weight beside it
            scales = getattr(value, "quant_state", None) or value
            scales = getattr(scales, "absmax", getattr(scales, "SCB", None))
            there = (t for t in (value, scales) if isinstance(t, Tensor) and not t.is_meta)
            found |= {id(t): t for t in there}
    return sum(tensor.nbytes for tensor in found.values())


def sees(config: PretrainedConfig) -> bool:
    """Return whether a chat model sees pictures."""
    return hasattr(config, "vision_config")


def auto_class(config: PretrainedConfig) -> Any:
    """Return the class of transformers that makes a chat model of a configuration."""
    return AutoModelForImageTextToText if sees(config) else AutoModelForCausalLM


def without_storage(config: PretrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Return a network on torch's meta device."""
    with BUILDING, torch.device("meta"):
        network: PreTrainedModel = auto_class(config).from_config(config, dtype=dtype)
    return network.eval()


def weight_bytes(network: PreTrainedModel, quantization: Quantization) -> int:
    """Return the bytes of a network's parameters and buffers in a form of its linear layers."""
    tensors = {id(t): t for t in (*network.parameters(), *network.buffers())}  # ties count once
    plain = sum(t.numel() * t.element_size() for t in tensors.values())
    if quantization is Quantization.none:
        return plain
    saved = sum(
        layer.weight.numel() * layer.weight.element_size() - quantized_bytes(layer, quantization)
        for layer in quantized(network)
    )
    return plain - saved


def tied_head_bytes(network: PreTrainedModel) -> int:
    """Return the bytes of a head that shares its weights with the embeddings."""
    head, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    return head.weight.nbytes if head is not None and head.weight is embeddings.weight else 0


def quantized(network: PreTrainedModel) -> list[nn.Linear | Conv1D]:
    """Return the layers that bitsandbytes quantizes: all linear ones but the head."""
    head = network.get_output_embeddings()
    return [m for m in network.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head]


def quantized_bytes(layer: nn.Linear | Conv1D, quantization: Quantization) -> int:
    """Return the bytes of a layer's weights with their scales."""
    n_weights = layer.weight.numel()
    if quantization is Quantization.int8:
        n_outputs = layer.nf if isinstance(layer, Conv1D) else layer.out_features
        return n_weights + 4 * n_outputs
    return -(-n_weights // 2) + 4 * -(-n_weights // NF4_BLOCK)


def rehearse(network: PreTrainedModel, n_tokens: int) -> tuple[int, int]:
    """Return the bytes of keys and values, and of all else that is alive, of a prefill on meta."""
    text_config = network.config.get_text_config(decoder=True)
    cache = SlotCache(text_config.num_hidden_layers)
    cache.make_room(1, n_tokens)
    cache.focus_row(0, 0, n_tokens)
    alive = Alive(network)
    with torch.inference_mode(), alive:
        network(
            input_ids=torch.zeros((1, n_tokens), dtype=torch.long, device="meta"),
            position_ids=torch.arange(n_tokens, device="meta")[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return cache.n_bytes, alive.peak - cache.n_bytes


class Alive(TorchDispatchMode):
    """Counts the bytes of tensors that are made within, as long as they are alive."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._now = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet(
            tensor.untyped_storage() for tensor in (*network.parameters(), *network.buffers())
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count what it made; views share what they are of."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._seen:
            self._seen.add(storage)
            self._now += storage.nbytes()
            weakref.finalize(storage, self._drop, storage.nbytes())
            self.peak = max(self.peak, self._now)

    def _drop(self, n_bytes: int) -> None:
        self._now -= n_bytes
