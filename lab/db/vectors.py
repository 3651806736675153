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
