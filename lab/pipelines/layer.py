"""
A decoder layer of the Llama family in fewer, larger steps, for CUDA and for float32 on a CPU.

It computes what transformers' layer computes. A single row spends a good part of its time on what
each operation costs whatever its size, so queries, keys and values are one product, gate and up
another, queries and keys are rotated together, and a norm is one operation. The last layer of a
running batch answers for the last token only: nobody asks what follows the tokens before.

Shape letters: B rows, T tokens, H heads (Q of queries, K of keys), D head size.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from lab.pipelines.attention import FULL
from lab.pipelines.cache import SlotCache
from lab.pipelines.packing import PackedLinear, is_packable

FAMILY = {"LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer", "Qwen3DecoderLayer"}
"""Classes of transformers whose layers compute the same, but for biases and norms of heads."""
WHOLE = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
"""Classes that are an embedding, such layers, a norm and a head, and nothing else."""


class FusedLayer(nn.Module):
    """
    What a decoder layer computes; (B, 1, I) for the last layer with a `SlotCache`.

    Parameters
    ----------
    layer : module of transformers
        The layer to replace, one of `FAMILY`; it loses its linear layers.
    """

    def __init__(self, layer: Any) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.heads: Any = attention  # its settings and the norms of its heads
        self.has_head_norms = hasattr(attention, "q_norm")
        types = getattr(attention.config, "layer_types", None)
        self.kind: str = types[attention.layer_idx] if types else FULL
        self.is_last = attention.layer_idx == attention.config.num_hidden_layers - 1
        self.head_dim: int = attention.head_dim
        self.n_keys: int = attention.k_proj.out_features // self.head_dim
        self.n_queries: int = attention.q_proj.out_features // self.head_dim
        self.norm = rms_norm(layer.input_layernorm)
        self.qkv = joined(take(attention, "q_proj", "k_proj", "v_proj"))
        self.out = joined(take(attention, "o_proj"))
        self.mlp_norm = rms_norm(layer.post_attention_layernorm)
        self.activation: Any = mlp.act_fn
        self.gate_up = joined(take(mlp, "gate_proj", "up_proj"))
        self.down = joined(take(mlp, "down_proj"))

    def forward(
        self,
        hidden_states: Tensor,
        *,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **_: object,
    ) -> Tensor:
        """Map (B, T, I) to (B, T, I), or to the last token of each row."""
        attended = self._attend(
            self.norm(hidden_states), position_embeddings, attention_mask, past_key_values
        )
        hidden_states = hidden_states[:, -attended.shape[1] :] + attended
        gate, up = self.gate_up(self.mlp_norm(hidden_states)).chunk(2, dim=-1)
        down: Tensor = self.down(self.activation(gate) * up)
        return hidden_states + down

    def _attend(
        self,
        inputs: Tensor,
        embeddings: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: Cache | None,
    ) -> Tensor:
        n_rows, n_tokens, _ = inputs.shape
        heads = self.qkv(inputs).view(n_rows, n_tokens, -1, self.head_dim)
        heads = heads.transpose(1, 2)  # (B, Q + K + K, T, D)
        sizes = (self.n_queries, self.n_keys)
        turning, values = heads.split((sum(sizes), self.n_keys), dim=1)
        if self.has_head_norms:
            queries, keys = turning.split(sizes, dim=1)
            turning = torch.cat((self.heads.q_norm(queries), self.heads.k_norm(keys)), dim=1)
        queries, keys = rotated(turning, *embeddings).split(sizes, dim=1)
        if cache is not None:
            keys, values = cache.update(keys, values, self.heads.layer_idx)
        if self.is_last and isinstance(cache, SlotCache):
            queries, mask = queries[:, :, -1:], None if mask is None else mask[..., -1:, :]
        if queries.shape[2] == 1:
            attended = attended_by_one(queries, keys, values, mask, self.heads.scaling)
        else:
            attended, _ = sdpa_attention_forward(
                self.heads, queries, keys, values, mask, scaling=self.heads.scaling
            )
        output: Tensor = self.out(attended.flatten(2))
        return output


def attended_by_one(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scaling: float
) -> Tensor:
    """
    Return the (B, 1, Q, D) values that one token of each row attends to.

    The queries that share a key head stand as if they were tokens, so that keys and values are
    read once and not repeated for each of them.
    """
    n_rows, n_queries, _, head_dim = queries.shape
    grouped = queries.reshape(n_rows, keys.shape[1], -1, head_dim)
    if keys.is_cuda:
        attended = scaled_dot_product_attention(grouped, keys, values, mask, scale=scaling)
    else:  # torch's kernel for a CPU works in blocks, which one token does not fill
        if is_intel():
            scores = (grouped * scaling) @ keys.transpose(2, 3)
        else:
            scores = (keys @ (grouped * scaling).transpose(2, 3)).transpose(2, 3)
        attended = torch.softmax(scores if mask is None else scores + mask, -1) @ values
    return attended.reshape(n_rows, 1, n_queries, head_dim)


@cache
def is_intel() -> bool:
    """Return True on Intel's processors, where MKL takes another order of factors faster."""
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False


def rotated(heads: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn (B, H, T, D) heads by (B, T, D) angles."""
    first, second = heads.chunk(2, dim=-1)
    return heads * cosine[:, None] + torch.cat((-second, first), dim=-1) * sine[:, None]


def rms_norm(norm: Any) -> nn.RMSNorm:
    """Return torch's norm with the weights of transformers'."""
    fused = nn.RMSNorm(norm.weight.shape[0], eps=norm.variance_epsilon)
    fused.weight = norm.weight
    return fused


def take(parent: nn.Module, *names: str) -> list[nn.Linear]:
    """Remove linear layers from their parent and return them."""
    linears = [getattr(parent, name) for name in names]
    for name in names:
        delattr(parent, name)
    return linears


def joined(linears: Sequence[nn.Linear]) -> nn.Module:
    """Return linear layers of the same input as one, their outputs side by side."""
    first = linears[0]
    n_outputs = sum(linear.out_features for linear in linears)
    joint = nn.Linear(first.in_features, n_outputs, bias=False, device="meta")
    joint.weight = nn.Parameter(torch.cat([x.weight for x in linears]), requires_grad=False)
    if first.bias is not None:
        joint.bias = nn.Parameter(torch.cat([x.bias for x in linears]), requires_grad=False)
    return PackedLinear(joint) if is_packable(joint) else joint


def is_fusable(layer: nn.Module) -> bool:
    """Return True for a layer of the family on CUDA, or in float32 on a CPU."""
    return type(layer).__name__ in FAMILY and all(
        is_packable(module) or is_plain_on_cuda(module)
        for module in layer.modules()
        if isinstance(module, nn.Linear)
    )


def is_plain_on_cuda(linear: nn.Linear) -> bool:
    """Return True for a linear layer on CUDA whose weights are numbers, not quantized."""
    return type(linear) is nn.Linear and linear.weight.is_cuda and linear.weight.is_floating_point()


def fuse_layers(network: nn.Module) -> int:
    """Replace the decoder layers that gain by it; return how many."""
    layers = [(name, layer) for name, layer in network.named_modules() if is_fusable(layer)]
    for name, layer in layers:
        network.set_submodule(name, FusedLayer(layer))
    return len(layers)


def is_fused(model: PreTrainedModel) -> bool:
    """Return True for a model that `fused_logits` runs."""
    return type(model).__name__ in WHOLE and all(
        type(layer) is FusedLayer for layer in model.model.layers
    )


def fused_logits(
    model: PreTrainedModel,
    tokens: Tensor,
    positions: Tensor,
    mask: Tensor | dict[str, Tensor],
    cache: SlotCache,
) -> Tensor:
    """
    Return the (B, V) logits of (B,) tokens at (B,) positions, with an `AttentionMasks.decoding`.

    What transformers does around the layers takes a single row some twentieth of its time.
    """
    network: Any = model.model
    hidden_states = network.embed_tokens(tokens[:, None])
    embeddings = network.rotary_emb(hidden_states, positions[:, None])
    for layer in network.layers:
        hidden_states = layer(
            hidden_states,
            position_embeddings=embeddings,
            attention_mask=mask[layer.kind] if isinstance(mask, dict) else mask,
            past_key_values=cache,
        )
    logits: Tensor = model.lm_head(network.norm(hidden_states))
    return logits[:, -1]
