"""The folder of a diffusers pipeline: what it says it is, and whether its weights are whole."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diffusers import DiffusionPipeline
from diffusers.pipelines.auto_pipeline import AUTO_TEXT2IMAGE_PIPELINES_MAPPING
from diffusers.pipelines.pipeline_loading_utils import simple_get_class_obj
from safetensors import SafetensorError, safe_open
from torch import nn

from lab.errors import ModelLoadError
from lab.schemas.model import Model

INDEX: Final = "model_index.json"
WEIGHTS: Final = ("diffusion_pytorch_model.safetensors", "model.safetensors")
LIBRARIES: Final = ("diffusers", "transformers")


@dataclass(frozen=True)
class Folder:
    """
    A pipeline as it is stored.

    Attributes
    ----------
    path : Path
        Where.
    pipeline : type
        Of diffusers, which makes pictures from text.
    parts : mapping
        The class of each part, by name; None for one that is left out.
    options : mapping
        What else the pipeline is made with.
    """

    path: Path
    pipeline: type[Any]
    parts: Mapping[str, type[Any] | None]
    options: Mapping[str, Any]

    def networks(self) -> Iterator[tuple[str, type[nn.Module]]]:
        """Yield name and class of each part that has weights."""
        for name, kind in self.parts.items():
            if kind is not None and issubclass(kind, nn.Module):
                yield name, kind


def open_folder(model: Model) -> Folder:
    """
    Return what the folder of a model says; it is downloaded where the source is no folder.

    Raises
    ------
    ModelLoadError
        If it holds no pipeline that makes pictures from text.
    """
    path = Path(model.source)
    if not path.is_dir():
        path = Path(
            DiffusionPipeline.download(model.source, revision=model.revision, use_safetensors=True)
        )
    index = _index(model, path)
    known = {kind.__name__: kind for kind in AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values()}
    name = index.get("_class_name")
    if not isinstance(name, str) or name not in known:
        raise ModelLoadError(
            f"`{model.id}` is a {name!r} of diffusers, which makes no pictures from text here; "
            "choose a pipeline such as StableDiffusionPipeline or FluxPipeline."
        )
    named = {key: value for key, value in index.items() if not key.startswith("_")}
    parts = {key: value for key, value in named.items() if isinstance(value, list)}
    return Folder(
        path,
        known[name],
        {key: _class(model, key, value) for key, value in parts.items()},
        {key: value for key, value in named.items() if key not in parts},
    )


def check_weights(model: Model, path: Path, n_expected: int, what: str) -> None:
    """
    Raise `ModelLoadError` unless the files of a network hold as many weights as it has.

    Only the headers of the files are read, which tell of one that is cut off or overwritten.
    """
    n_found = sum(n_weights(f"`{model.id}`", file) for file in _weight_files(model, path))
    if n_found < 0.98 * n_expected:  # tied ones are stored once, buffers now and then not at all
        raise ModelLoadError(
            f"`{model.id}`: the files of {what} hold {n_found:,} weights, and its config.json says "
            f"{n_expected:,}; restore the folder {path}."
        )


def n_weights(whose: str, file: Path) -> int:
    """Return how many weights a safetensors file holds, by its header; raise `ModelLoadError`."""
    try:
        with safe_open(file, framework="pt") as weights:
            shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f"{whose}: {file} is missing or damaged ({error}); restore it."
        ) from error
    return sum(_product(shape) for shape in shapes)


def _index(model: Model, path: Path) -> dict[str, Any]:
    file = path / INDEX
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        index = None
    except ValueError as error:
        raise ModelLoadError(f"`{model.id}`: {file} is damaged ({error}); restore it.") from error
    if not isinstance(index, dict):
        raise ModelLoadError(
            f"`{model.id}` makes no pictures: {path} has no {INDEX}, so it is no folder that "
            "diffusers saved; set LAB_IMAGE_MODEL to one that is."
        )
    return index


def _class(model: Model, part: str, said: list[Any]) -> type[Any] | None:
    """Return the class of a part: of diffusers or transformers, never of the folder itself."""
    library, name = said if len(said) == 2 else (None, None)
    if said and library is None and name is None:
        return None
    try:
        found = simple_get_class_obj(library, name)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise _stranger(model, part, said) from error
    if not found.__module__.startswith(tuple(f"{one}." for one in LIBRARIES)):
        raise _stranger(model, part, said)
    return found


def _stranger(model: Model, part: str, said: list[Any]) -> ModelLoadError:
    return ModelLoadError(
        f"`{model.id}`: its part `{part}` is {said!r}, which is no class of diffusers or "
        "transformers here; code that comes with a model is not run."
    )


def _weight_files(model: Model, path: Path) -> list[Path]:
    for name in WEIGHTS:
        if (index := path / f"{name}.index.json").is_file():
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            return [path / file for file in sorted(set(places.values()))]
        if (path / name).is_file():
            return [path / name]
    raise ModelLoadError(
        f"`{model.id}`: {path} has no weights; expected {' or '.join(WEIGHTS)}. Restore the "
        "folder, or choose another model."
    )


def _product(shape: list[int]) -> int:
    n = 1
    for length in shape:
        n *= length
    return n
