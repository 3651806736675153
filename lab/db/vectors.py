"""What every stored embedding must be."""

import numpy as np

from lab.errors import DimensionError, InputError
from lab.protocols import EMBEDDING_DIM, FloatArray


def check_vector(name: str, vector: FloatArray) -> None:
    """
    Raise for what cosines cannot be taken of.

    Parameters
    ----------
    name : str
        What it is, for people.
    vector : array of shape (768,)
        The embedding.

    Raises
    ------
    DimensionError
        If it has another shape.
    InputError
        If it is all zeros or holds NaN or infinity.
    """
    if vector.shape != (EMBEDDING_DIM,):
        raise DimensionError(name, vector.shape, str((EMBEDDING_DIM,)))
    if not (np.isfinite(vector).all() and vector.any()):
        raise InputError(f"The {name} has no direction: it is all zeros or holds NaN or infinity.")


def check_vectors(of: str, vectors: FloatArray, n: int) -> None:
    """
    Raise for what cosines cannot be taken of, among the embeddings of N texts.

    Parameters
    ----------
    of : str
        What each is the embedding of, for people.
    vectors : array of shape (n, 768)
        The embeddings.
    n : int
        How many there have to be.

    Raises
    ------
    DimensionError, InputError
        As `check_vector` does.
    """
    if vectors.shape != (n, EMBEDDING_DIM):
        raise DimensionError("embeddings", vectors.shape, str((n, EMBEDDING_DIM)))
    if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
        raise InputError(f"A {of} has no direction: its embedding is zeros, NaN or infinite.")
