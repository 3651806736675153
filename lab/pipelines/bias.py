"""Whether a bias on tokens names tokens. Imports no torch."""

import re
from collections.abc import Iterable
from typing import Final

from lab.errors import InputError, cut

ID: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
"""How a token is named: by its number."""


def check_bias(model_id: str, tokens: Iterable[str], n_tokens: int | None) -> None:
    """
    Raise `InputError` for a bias on what is no token of a model.

    Parameters
    ----------
    model_id : str
        The model.
    tokens : iterable of str
        What the bias is on.
    n_tokens : int or None
        The tokens that there are; None where nobody knows.
    """
    for token in tokens:
        is_id = ID.fullmatch(token) is not None
        if not is_id or (n_tokens is not None and int(token) >= n_tokens):
            ids = "numbers from 0" if n_tokens is None else f"ids from 0 to {n_tokens - 1}"
            raise InputError(
                f"`logit_bias` names {cut(token, 40)!r}, and the tokens of `{model_id}` have {ids}."
            )
