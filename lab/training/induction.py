"""First weights in which the model can copy already: induction heads, written and not waited for.

A small model learns to copy suddenly and late; on a CPU that wait is most of the training. So the
circuit is written into the random weights: heads of the first layer look one to four tokens back and
store beside each token what stood there; heads of the second look for the place where the present
token and the three before it stood last, and say what followed. What is stored has dimensions of
its own, which the embeddings leave free. An untrained model repeats random tokens with 0.99 of them
right.

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

EMBEDDING_STD: Final = 0.08
COMMON_SHARE: Final = 0.15
"""Part of an embedding's squared length that all tokens have in common; what heads for positions see."""
LOOK_BACK_WEIGHTS: Final = (3.0, 1.5, 1.0, 0.7)
"""Weight of the fastest rotary frequencies in the score of looking back."""
N_FAST: Final = 5
"""Rotary frequencies that turn too fast to compare what tokens are."""
COMPARED: Final = ((7, 1.3), (5, 1.0), (5, 0.8), (5, 0.6))
"""How many dimensions of the present token, and of each before it, a head compares, and their weight."""
SHARP, STORED, MATCHED, SAID = 1.0, 0.1, 2.8, 1.3
"""How sharply to look back, how loud to store, how strictly to match, how loud to say."""


def write_induction_heads(model: LlamaForCausalLM, seed: int) -> None:
    """Write the circuit into the embeddings and the attention of the first two layers.

    Parameters
    ----------
    model : LlamaForCausalLM
        At least two layers and four heads of 32 dimensions, a hidden size of at least 128, as many
        key heads as query heads, embeddings tied.
    seed : int
        Of the directions that it uses.
    """
    random = torch.Generator().manual_seed(seed)
    config = model.config
    n_heads, width = config.num_attention_heads, config.hidden_size
    head_dim = width // n_heads
    slow = _slow_dims(head_dim)
    n_slow, n_stores = int(slow.sum()), len(COMPARED)
    free = width - n_stores * n_slow
    named, *stores = _directions(width, random).split([free] + n_stores * [n_slow])
    common, token = named[0], named[1 : n_slow + 1]
    said = _directions(width, random)
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    _write_embeddings(model.model.embed_tokens.weight, named, random)
    with torch.no_grad():
        for head, store in enumerate(stores):
            query, key = _look_back(config, head_dim, offset=head + 1)
            rows = slice(head * head_dim, (head + 1) * head_dim)
            first.q_proj.weight[rows] = torch.outer(query, common) * SHARP
            first.k_proj.weight[rows] = torch.outer(key, common) * SHARP
            first.v_proj.weight[rows] = _padded(token, head_dim)
            first.o_proj.weight[:, rows] = _padded(store, head_dim).T * STORED
        for head in range(n_heads):
            rows = slice(head * head_dim, (head + 1) * head_dim)
            query, key = _compare([token, *stores], random)
            for weight, part in ((second.q_proj.weight, query), (second.k_proj.weight, key)):
                weight[rows] = 0.0
                weight[rows][slow] = part * MATCHED
            second.v_proj.weight[rows] = said[rows]
            second.o_proj.weight[:, rows] = said[rows].T * SAID


def _write_embeddings(embeddings: Tensor, named: Tensor, random: Generator) -> None:
    """Draw embeddings of shape (V, D) along the rows of `named`, the first the same for all."""
    size = EMBEDDING_STD * embeddings.shape[1] ** 0.5
    drawn = torch.randn((len(embeddings), len(named) - 1), generator=random)
    drawn *= size * (1 - COMMON_SHARE) ** 0.5 / drawn.shape[1] ** 0.5
    embeddings.data.copy_(drawn @ named[1:] + size * COMMON_SHARE**0.5 * named[0])


def _compare(places: list[Tensor], random: Generator) -> tuple[Tensor, Tensor]:
    """Return query and key, each of shape (n_slow, D): each place must hold what the next one stores."""
    n_slow = len(places[0])
    picked = [torch.randperm(n_slow, generator=random)[:n] for n, _ in COMPARED]
    query = [place[rows] * w for place, rows, (_, w) in zip(places, picked, COMPARED, strict=False)]
    key = [
        place[rows] * w for place, rows, (_, w) in zip(places[1:], picked, COMPARED, strict=True)
    ]
    return torch.cat(query), torch.cat(key)


def _look_back(config: LlamaConfig, head_dim: int, offset: int) -> tuple[Tensor, Tensor]:
    """Return a query and a key of shape (head_dim,) whose score is highest `offset` tokens apart."""
    theta = config.rope_parameters["rope_theta"]
    cosine, sine = (turns[offset] for turns in rotations(offset + 1, head_dim, theta))
    lengths = torch.zeros(head_dim // 2)
    lengths[: len(LOOK_BACK_WEIGHTS)] = torch.tensor(LOOK_BACK_WEIGHTS).sqrt()
    query = torch.cat((lengths, torch.zeros_like(lengths)))
    return query, torch.cat((lengths * cosine, lengths * sine))


def _slow_dims(head_dim: int) -> Tensor:
    """Return a mask of shape (head_dim,): the dimensions that hardly turn within a window."""
    slow = torch.arange(head_dim // 2) >= N_FAST
    return torch.cat((slow, slow))


def _directions(width: int, random: Generator) -> Tensor:
    """Return orthonormal rows of shape (width, width)."""
    basis, _ = torch.linalg.qr(torch.randn(width, width, generator=random))
    return basis.T


def _padded(rows: Tensor, n_rows: int) -> Tensor:
    """Return the rows with rows of zeros after them, shape (n_rows, width)."""
    return torch.cat((rows, rows.new_zeros(n_rows - len(rows), rows.shape[1])))
