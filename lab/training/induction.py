"""First weights in which the model can copy already: induction heads, written and not waited for.

A small model learns to copy suddenly and late; on a CPU that wait is most of the training. So the
circuit is written into the random weights: heads of the first layer look at the token before and
store it beside each token; heads of the second look for places whose token before is the present
one, and say what stands there. An untrained model repeats random tokens with 0.9 of them right.

References
----------
Olsson et al., "In-context learning and induction heads", 2022.
Trockman and Kolter, "Mimetic initialization of self-attention layers", 2023.
"""

from typing import Final

import torch
from torch import Generator, Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from lab.training.forward import rotations

EMBEDDING_STD: Final = 0.07
COMMON_SHARE: Final = 0.15
"""Part of an embedding's squared length that all tokens have in common; what heads for positions see."""
N_PREVIOUS: Final = 3
"""Heads of the first layer that look at the token before."""
PREVIOUS_WEIGHTS: Final = (3.0, 1.5, 1.0, 0.7)
"""Weight of the fastest rotary frequencies in their score."""
N_FAST: Final = 5
"""Rotary frequencies that turn too fast to compare what tokens are."""
SHARP, STORED, MATCHED, SAID = 0.8, 0.1, 2.3, 1.3
"""How sharply to look back, how loud to store, how strictly to match, how loud to say."""


def write_induction_heads(model: LlamaForCausalLM, seed: int) -> None:
    """Write the circuit into the embeddings and the attention of the first two layers.

    Parameters
    ----------
    model : LlamaForCausalLM
        At least two layers and three heads, as many key heads as query heads, embeddings tied.
    seed : int
        Of the directions that it uses.
    """
    random = torch.Generator().manual_seed(seed)
    config = model.config
    n_heads, width = config.num_attention_heads, config.hidden_size
    head_dim = width // n_heads
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    common = _write_embeddings(model.model.embed_tokens.weight, random)
    slow = _slow_dims(head_dim)
    n_slow = int(slow.sum())
    query, key = _look_back(config, head_dim)
    said = _directions(width, width, random)
    with torch.no_grad():
        routes = []
        for head in range(N_PREVIOUS):
            rows = slice(head * head_dim, (head + 1) * head_dim)
            now, before = (_directions(n_slow, width, random) for _ in range(2))
            first.q_proj.weight[rows] = torch.outer(query, common) * SHARP
            first.k_proj.weight[rows] = torch.outer(key, common) * SHARP
            first.v_proj.weight[rows] = _padded(now, head_dim)
            first.o_proj.weight[:, rows] = _padded(before, head_dim).T * STORED
            routes.append((now, before))
        for head in range(n_heads):
            rows = slice(head * head_dim, (head + 1) * head_dim)
            now, before = routes[head % N_PREVIOUS]
            for weight, part in ((second.q_proj.weight, now), (second.k_proj.weight, before)):
                weight[rows] = 0.0
                weight[rows][slow] = part * MATCHED
            second.v_proj.weight[rows] = said[rows]
            second.o_proj.weight[:, rows] = said[rows].T * SAID


def _write_embeddings(embeddings: Tensor, random: Generator) -> Tensor:
    """Draw embeddings of shape (V, D); return the direction of shape (D,) that all have in common."""
    width = embeddings.shape[1]
    (common,) = _directions(1, width, random)
    drawn = torch.randn(embeddings.shape, generator=random) * EMBEDDING_STD
    drawn -= torch.outer(drawn @ common, common)
    shared = EMBEDDING_STD * (width * COMMON_SHARE / (1 - COMMON_SHARE)) ** 0.5
    embeddings.data.copy_(drawn + shared * common)
    return common


def _look_back(config: LlamaConfig, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return a query and a key of shape (head_dim,) whose score is highest one token apart."""
    n_used = len(PREVIOUS_WEIGHTS)
    (_, cosine), (_, sine) = rotations(2, head_dim, config.rope_parameters["rope_theta"])
    lengths = torch.zeros(head_dim // 2)
    lengths[:n_used] = torch.tensor(PREVIOUS_WEIGHTS).sqrt()
    query = torch.cat((lengths, torch.zeros_like(lengths)))
    return query, torch.cat((lengths * cosine, lengths * sine))


def _slow_dims(head_dim: int) -> Tensor:
    """Return a mask of shape (head_dim,): the dimensions that hardly turn within a window."""
    slow = torch.arange(head_dim // 2) >= N_FAST
    return torch.cat((slow, slow))


def _directions(n: int, width: int, random: Generator) -> Tensor:
    """Return `n` orthonormal rows of shape (n, width)."""
    basis, _ = torch.linalg.qr(torch.randn(width, n, generator=random))
    return basis.T


def _padded(rows: Tensor, n_rows: int) -> Tensor:
    """Return the rows with rows of zeros after them, shape (n_rows, width)."""
    return torch.cat((rows, rows.new_zeros(n_rows - len(rows), rows.shape[1])))
