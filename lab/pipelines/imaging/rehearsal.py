"""
A pipeline without weights, on which the making of a picture is rehearsed.

Its networks are on torch's meta device: every operation runs and allocates nothing, and what would
be alive at once is counted. The scheduler only counts its steps, since it looks at values.
"""

from collections.abc import Callable
from typing import Any, Final

import torch
from diffusers import ModelMixin
from PIL import Image
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lab.pipelines.building import BUILDING
from lab.pipelines.imaging.calling import arguments, editor
from lab.pipelines.imaging.drawing import Drawing
from lab.pipelines.imaging.folder import Folder
from lab.pipelines.memory import Alive

PROMPT: Final = "a picture"


def without_storage(folder: Folder, dtype: torch.dtype) -> Any:
    """Return the pipeline of a folder with networks that hold no weights."""
    networks = dict(folder.networks())
    with BUILDING, torch.device("meta"):
        parts: dict[str, Any] = {
            name: _empty(kind, folder, name).to(dtype).eval() for name, kind in networks.items()
        }
    for name, kind in folder.parts.items():
        if name not in networks:
            path = folder.path / name
            parts[name] = None if kind is None else kind.from_pretrained(path)
    return folder.pipeline(**parts, **folder.options)


def networks_of(pipeline: Any) -> dict[str, nn.Module]:
    """Return the networks of a pipeline by name."""
    parts = pipeline.components.items()
    return {name: part for name, part in parts if isinstance(part, nn.Module)}


def rehearse(pipeline: Any, side: int) -> int:
    """
    Return the most bytes that are alive at once, besides weights, while a picture is made.

    Parameters
    ----------
    pipeline : DiffusionPipeline
        One without storage.
    side : int
        Width and height of the picture.
    """
    blank = Image.new("RGB", (side, side))
    most = _rehearsed(pipeline, Drawing(PROMPT, side, side, seed=0, steps=2))
    change = editor(pipeline)
    if change is None:
        return most
    edit = Drawing(PROMPT, side, side, seed=0, steps=2, strength=1.0, image=blank)
    return max(most, _rehearsed(change, edit))


def _rehearsed(pipeline: Any, drawing: Drawing) -> int:
    real = pipeline.scheduler, pipeline.image_processor
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = Still(real[0])
    pipeline.image_processor = Unlooked(real[1])
    alive = Alive(nn.ModuleList(networks_of(pipeline).values()))
    try:
        with torch.inference_mode(), alive, Fused():
            pipeline(**arguments(pipeline, drawing), output_type="pt")
    finally:
        pipeline.scheduler, pipeline.image_processor = real
    return alive.peak


class Still:
    """A scheduler that leaves the picture as it is."""

    init_noise_sigma = 1.0
    order = 1

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        sigmas: Any = None,
        timesteps: Any = None,
        mu: float | None = None,
    ) -> None:
        """Take one step, whatever is asked for."""
        self.timesteps = torch.ones(1, device=device)
        self.sigmas = torch.ones(2, device=device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Begin with it."""

    def scale_model_input(self, sample: Tensor, *given: Any, **more: Any) -> Tensor:
        """Return `sample`, of any shape."""
        return sample

    def add_noise(self, sample: Tensor, noise: Tensor, *given: Any) -> Tensor:
        """Return a tensor as large as `sample`, of any shape."""
        return sample + noise

    def scale_noise(self, sample: Tensor, timestep: Any = None, noise: Any = None) -> Tensor:
        """Return a tensor as large as `sample`, of any shape."""
        return sample + sample

    def step(self, output: Any, timestep: Any, sample: Tensor, **more: Any) -> tuple[Tensor]:
        """Return a tensor as large as `sample`, of any shape."""
        return (sample + output,)


class Unlooked:
    """A picture processor that leaves the values of a made picture alone."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def postprocess(self, made: Tensor, **options: Any) -> Tensor:
        """Return a copy of `made`, of any shape."""
        return made.float()


class Fused(TorchFunctionMode):
    """Attention as devices compute it: without the matrix of all scores, unlike on meta."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function; of attention, only make what it returns."""
        kwargs = kwargs or {}
        if func is not nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
        query, value = named["query"], named["value"]
        return query.new_empty((*query.shape[:-1], value.shape[-1]))


def _empty(kind: type[Any], folder: Folder, name: str) -> nn.Module:
    """Return a network as its config.json says it is; on whichever device is the default."""
    place = folder.path / name
    if issubclass(kind, ModelMixin):
        made: nn.Module = kind.from_config(kind.load_config(place))
        return made
    network: nn.Module = kind(kind.config_class.from_pretrained(place))
    return network
