"""How a pipeline of diffusers is called for a drawing, and what it can be called for."""

import inspect
from collections.abc import Callable, Mapping
from math import lcm
from typing import Any, Final

from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

from lab.pipelines.imaging.drawing import Drawing, Traits

PATCH: Final = 2
"""Places of the latent picture, along a side, that many transformers take as one."""
LEAST_MULTIPLE: Final = 8
DEFAULT_SIDE: Final = 1024


def parameters(pipeline: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters that a pipeline is called with."""
    return inspect.signature(type(pipeline).__call__).parameters


def arguments(pipeline: Any, drawing: Drawing) -> dict[str, Any]:
    """Return what a pipeline takes of a drawing; what is left to its own defaults is not in it."""
    values = {
        "prompt": drawing.prompt,
        "negative_prompt": drawing.negative_prompt,
        "width": drawing.width,
        "height": drawing.height,
        "num_inference_steps": drawing.steps,
        "guidance_scale": drawing.guidance,
        "strength": drawing.strength,
        "image": drawing.image,
        "mask_image": drawing.mask,
    }
    takes = parameters(pipeline)
    return {key: value for key, value in values.items() if key in takes and value is not None}


def editor(pipeline: Any) -> Any | None:
    """Return the pipeline that changes pictures with the same networks, if there is one."""
    return _sibling(AutoPipelineForImage2Image.from_pipe, pipeline)


def inpainter(pipeline: Any) -> Any | None:
    """Return the pipeline that changes masked parts with the same networks, if there is one."""
    return _sibling(AutoPipelineForInpainting.from_pipe, pipeline)


def traits_of(pipeline: Any) -> Traits:
    """Return what a pipeline takes."""
    takes = parameters(pipeline)
    change = editor(pipeline)
    strength = _default(change, "strength") if change is not None else None
    guides = "guidance_scale" in takes
    return Traits(
        multiple=lcm(LEAST_MULTIPLE, PATCH * _factor(pipeline)),
        side=_side(pipeline),
        steps=int(_default(pipeline, "num_inference_steps")),
        guidance=float(_default(pipeline, "guidance_scale") or 0) if guides else None,
        takes_negative="negative_prompt" in takes
        and ("true_cfg_scale" not in takes or _default(pipeline, "true_cfg_scale") > 1),
        strength=strength,
        edits=change is not None,
        inpaints=inpainter(pipeline) is not None,
    )


def tile(pipeline: Any, side: int) -> bool:
    """
    Have a pipeline decode and encode pictures in tiles; return whether it can.

    Parameters
    ----------
    pipeline : DiffusionPipeline
        Loaded or not.
    side : int
        Of its largest picture, of which a tile is a quarter: the tile of a decoder's own is often
        the whole picture.
    """
    decoder = getattr(pipeline, "vae", None)
    if decoder is None or not hasattr(decoder, "enable_tiling"):
        return False
    decoder.enable_tiling()
    if hasattr(decoder, "tile_latent_min_size"):
        factor = _factor(pipeline)
        places = max(side // 2 // factor, LEAST_MULTIPLE)
        decoder.tile_latent_min_size, decoder.tile_sample_min_size = places, places * factor
    return True


def _sibling(make: Callable[[Any], Any], pipeline: Any) -> Any | None:
    try:
        return make(pipeline)
    except ValueError:  # no such pipeline for this kind of model
        return None


def _default(pipeline: Any, name: str) -> Any:
    """Return what a pipeline takes where nobody says; None where it does not take it."""
    parameter = parameters(pipeline).get(name)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return None
    return parameter.default


def _factor(pipeline: Any) -> int:
    """Return the pixels along a side that become one place of the latent picture."""
    return int(getattr(pipeline, "vae_scale_factor", LEAST_MULTIPLE))


def _side(pipeline: Any) -> int:
    """Return the side of the pictures that a model was made for."""
    network = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
    size = getattr(pipeline, "default_sample_size", None)
    size = size or getattr(getattr(network, "config", None), "sample_size", None)
    return int(size) * _factor(pipeline) if isinstance(size, int) else DEFAULT_SIDE
