"""
Vectors cut to fewer numbers, of models that were trained for it.

References
----------
Kusupati et al., "Matryoshka representation learning", 2022.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from lab.protocols import EMBEDDING_DIM, FloatArray


def lengths_of(network_config: Any, dim: int, *, trained: bool) -> Collection[int]:
    """
    Return the lengths that a model's vectors may have.

    Parameters
    ----------
    network_config : object
        Names them as `matryoshka_dimensions` or `matryoshka_dims`, where it does.
    dim : int
        The model's own length.
    trained : bool
        Whether the settings say that it was trained for every length, where its config is silent.
    """
    for name in ("matryoshka_dimensions", "matryoshka_dims"):
        if named := getattr(network_config, name, None):
            return sorted({n for n in named if n < dim} | {dim})
    return range(1, dim + 1) if trained else [dim]


def refusal(model_id: str, lengths: Collection[int], wanted: int) -> str:
    """Return why vectors of a length cannot be had, and which can."""
    *shorter, dim = lengths
    if not shorter:
        return (
            f"`{model_id}` makes {dim} dimensions, and nothing says that it was trained to have "
            f"them cut to {wanted}: leave that out, or set LAB_EMBEDDING_MATRYOSHKA=true if it was."
        )
    known = f"1 to {dim}" if isinstance(lengths, range) else ", ".join(map(str, lengths))
    return f"`{model_id}` makes {known} dimensions, not {wanted}."


def cut(vectors: FloatArray, dim: int) -> FloatArray:
    """
    Return (N, D) vectors with their first `dim` numbers, scaled to length 1, as (N, 768).

    >>> cut(np.array([[3.0, 4.0, 12.0]], np.float32), 2)[0, :3]
    array([0.6, 0.8, 0. ], dtype=float32)
    """
    kept = vectors[:, :dim]
    unit: FloatArray = np.zeros((len(kept), EMBEDDING_DIM), np.float32)
    unit[:, :dim] = kept / np.linalg.norm(kept, axis=1, keepdims=True)
    return unit
