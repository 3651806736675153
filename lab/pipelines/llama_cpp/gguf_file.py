"""What a GGUF file tells of its model, without its weights."""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from gguf import GGUFReader

from lab.errors import ModelLoadError

PART: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)
"""How the files of a model end that was split; llama.cpp is given the first."""

HALF: Final = 2
"""Bytes of a value of the cache of keys and values, which is float16."""


@dataclass(frozen=True, slots=True)
class GgufModel:
    """
    A model in GGUF.

    Attributes
    ----------
    context_length : int
        Tokens that it was trained for.
    token_bytes : int
        Keys and values of one token, in float16.
    width : int
        Numbers that one token has between two layers.
    n_vocabulary : int
        Tokens that it knows.
    template : str
        Its chat template; "" where it has none, and llama.cpp takes a common one.
    """

    context_length: int
    token_bytes: int
    width: int
    n_vocabulary: int
    template: str


def gguf_bytes(file: Path) -> int:
    """
    Return the bytes of a model's files, which is what its weights take.

    Raises
    ------
    ModelLoadError
        If one of them cannot be read.
    """
    return sum(_size(part) for part in _parts(file))


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
        If there is no such file, or it is no language model in GGUF that writes.
    """
    n_bytes = _size(file)
    return _read(file, n_bytes, file.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _read(file: Path, _n_bytes: int, _changed_at: int) -> GgufModel:
    """Read a file, which takes a second where the vocabulary is large."""
    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError, OSError, OverflowError) as error:
        raise ModelLoadError(f"{file} is not a whole GGUF file: {error}.") from error

    def told(key: str, default: Any = None) -> Any:
        field = reader.get_field(key)
        return default if field is None else field.contents()

    kind = told("general.architecture")
    if told(f"{kind}.attention.causal", True) is False:
        raise ModelLoadError(f"{file} is an encoder ({kind}), which writes no answers.")
    try:
        return GgufModel(
            context_length=int(told(f"{kind}.context_length")),
            token_bytes=_token_bytes(lambda key, default=None: told(f"{kind}.{key}", default)),
            width=int(told(f"{kind}.embedding_length")),
            n_vocabulary=len(reader.fields["tokenizer.ggml.tokens"].data),
            template=str(told("tokenizer.chat_template", "")),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise ModelLoadError(
            f"{file} is not a language model that llama.cpp runs: its architecture is {kind}, and "
            "its metadata names no layers, heads, window or tokens."
        ) from error


def _token_bytes(told: Any) -> int:
    """Return the bytes that one token keeps; layers without attention keep a state of their own."""
    n_layers, heads = int(told("block_count")), told("attention.head_count")
    most = max(heads) if isinstance(heads, list) else int(heads)
    if not most:
        return 0
    per_head = int(told("embedding_length")) // most
    kv_heads = told("attention.head_count_kv", heads)
    n_heads = sum(kv_heads) if isinstance(kv_heads, list) else n_layers * int(kv_heads)
    key, value = told("attention.key_length", per_head), told("attention.value_length", per_head)
    return n_heads * (int(key) + int(value)) * HALF


def _parts(file: Path) -> list[Path]:
    """Return the files of a model, of which the first is given."""
    match = PART.search(file.name)
    if match is None:
        return [file]
    n_parts = int(match[1])
    stem, suffix = file.name[: match.start()], file.suffix
    return [
        file.with_name(f"{stem}-{number:05}-of-{n_parts:05}{suffix}")
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
