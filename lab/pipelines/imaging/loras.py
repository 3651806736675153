"""LoRA weights that requests may name. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from lab.errors import InputError, ModelLoadError, nearest


def named(sources: Sequence[str]) -> dict[str, str]:
    """
    Return the sources by the names that requests use.

    >>> named(["styles/ink.safetensors", "somebody/pastel"])
    {'ink': 'styles/ink.safetensors', 'somebody/pastel': 'somebody/pastel'}
    """
    return {_name(source): source for source in sources}


def check_known(name: str, known: Mapping[str, str]) -> None:
    """Raise `InputError` for LoRA weights that nobody configured."""
    if name not in known:
        raise InputError(
            f"Unknown LoRA `{name}`.{nearest(name, list(known))} LoRA weights here: "
            f"{', '.join(known) or 'none'} (LAB_IMAGE_LORAS)."
        )


def weights_file(name: str, source: str) -> Path:
    """
    Return the file of LoRA weights; it is downloaded where the source is neither file nor folder.

    Raises
    ------
    ModelLoadError
        If there is none, or more than one.
    """
    place = Path(source).expanduser()
    if place.is_file():
        return place
    if not place.is_dir():
        place = _downloaded(name, source)
    files = sorted(place.glob("*.safetensors"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise ModelLoadError(
            f"The LoRA `{name}` needs one *.safetensors file in {place}, found {found}; name the "
            "file itself in LAB_IMAGE_LORAS."
        )
    return files[0]


def _downloaded(name: str, source: str) -> Path:
    try:
        return Path(snapshot_download(source, allow_patterns=["*.safetensors"]))
    except (OSError, HfHubHTTPError, HFValidationError) as error:
        raise ModelLoadError(
            f"No weights for the LoRA `{name}`: {source} is no file or folder here and could not "
            f"be downloaded ({error}). Correct LAB_IMAGE_LORAS, or check the network."
        ) from error


def _name(source: str) -> str:
    place = Path(source).expanduser()
    if place.suffix == ".safetensors":
        return place.stem
    return place.resolve().name if place.is_dir() else source
