"""What a GGUF file tells of its model, without its weights."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gguf import GGUFReader

from lab.errors import ModelLoadError

PART: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
"""How the files of a model end that was split; llama.cpp is given the first."""

HALF: Final = 2
"""Bytes of a value of the cache of keys and values, which is float16."""


@dataclass(frozen=True, slots=True)
class GgufModel:
    """
    A model in GGUF.

    Attributes
    ----------
    n_bytes : int
        Its files, which is what its weights take.
    context_length : int
        Tokens that it was trained for.
    token_bytes : int
        Keys and values of one token, in float16.
    width : int
        Numbers that one token has between two layers.
    n_vocabulary : int
        Tokens that it knows.
    """

    n_bytes: int
    context_length: int
    token_bytes: int
    width: int
    n_vocabulary: int


def read_gguf(file: Path) -> GgufModel:
    """
    Return what the file of a model tells; of one that was split, its first.

    Parameters
    ----------
    file : Path
        In the format of
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.

    Raises
    ------
    ModelLoadError
        If there is no such file, a part of it is missing, or it is no language model in GGUF.
    """
    n_bytes = sum(_size(part) for part in _parts(file))
    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, OSError, OverflowError) as error:
        raise ModelLoadError(f"{file} is not a whole GGUF file: {error}.") from error

    def told(key: str, default: Any = None) -> Any:
        field = reader.get_field(key)
        return default if field is None else field.contents()

    kind = told("general.architecture")
    try:
        n_layers, width = int(told(f"{kind}.block_count")), int(told(f"{kind}.embedding_length"))
        heads = told(f"{kind}.attention.head_count")
        per_head = width // (max(heads) if isinstance(heads, list) else heads)
        kv_heads = told(f"{kind}.attention.head_count_kv", heads)
        n_heads = sum(kv_heads) if isinstance(kv_heads, list) else n_layers * kv_heads
        key = told(f"{kind}.attention.key_length", per_head)
        value = told(f"{kind}.attention.value_length", per_head)
        return GgufModel(
            n_bytes=n_bytes,
            context_length=int(told(f"{kind}.context_length")),
            token_bytes=n_heads * (key + value) * HALF,
            width=width,
            n_vocabulary=len(reader.fields["tokenizer.ggml.tokens"].data),
        )
    except (TypeError, KeyError, ZeroDivisionError) as error:
        raise ModelLoadError(
            f"{file} is not a language model that llama.cpp runs: its architecture is {kind}, and "
            "its metadata names no layers, heads, window or tokens."
        ) from error


def _parts(file: Path) -> list[Path]:
    """Return the files of a model, of which the first is given."""
    match = PART.search(file.name)
    if match is None:
        return [file]
    n_parts = int(match[1])
    stem = file.name[: match.start()]
    return [
        file.with_name(f"{stem}-{number:05}-of-{n_parts:05}.gguf")
        for number in range(1, n_parts + 1)
    ]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise ModelLoadError(
            f"A model in GGUF is a file of this machine, and {file} cannot be read: "
            f"{error.strerror}."
        ) from error
