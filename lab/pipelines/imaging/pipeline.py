"""An image model in memory: one thread makes one picture at a time, and stops between steps."""

import gc
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any

import torch
from diffusers import AutoPipelineForText2Image

from lab.errors import (
    InputError,
    LabError,
    ModelLoadError,
    NoRoomError,
    UnavailableError,
)
from lab.pipelines.building import BUILDING
from lab.pipelines.devices import torch_device
from lab.pipelines.imaging.calling import (
    arguments,
    editor,
    inpainter,
    parameters,
    tile,
    traits_of,
)
from lab.pipelines.imaging.drawing import Drawing, Step
from lab.pipelines.imaging.folder import n_weights, open_folder
from lab.pipelines.imaging.foretelling import dtype_of, largest_side
from lab.pipelines.imaging.forms import ImageForm
from lab.pipelines.imaging.loras import named, weights_file
from lab.pipelines.imaging.pictures import as_png
from lab.pipelines.imaging.quiet import quietly
from lab.pipelines.imaging.rehearsal import networks_of
from lab.pipelines.loading import clear_errors, first_line
from lab.pipelines.memory import network_bytes
from lab.pipelines.turns import StoppedError, Turn, Turns
from lab.schemas.image_config import ImageConfig
from lab.schemas.model import Model

ADAPTER = "lora"


class DiffusersImages:
    """
    A pipeline of diffusers; made by `load`.

    Parameters
    ----------
    model : Model
        Catalog entry.
    pipeline : DiffusionPipeline
        Loaded, in the number format it runs in.
    form : ImageForm
        How it lies in memory.
    config : ImageConfig
        Its device, its queue and its LoRA weights.
    """

    def __init__(
        self, model: Model, pipeline: Any, *, form: ImageForm, config: ImageConfig
    ) -> None:
        self.model = model.model_copy(update={"loaded": True})
        self._form = form
        self._offloads = form in {ImageForm.parts, ImageForm.layers}
        self._device = torch_device(config.device)
        self._loras = named(config.loras)
        self._lora: str | None = None
        self._makers: dict[str, Any] = {"make": pipeline}
        self._placed: Any = None
        self._turns = Turns(
            model.id, "pictures", max_queue=config.max_queue, setting="LAB_IMAGE_MAX_QUEUE"
        )
        if form is not ImageForm.whole:
            tile(pipeline, largest_side(config, traits_of(pipeline).multiple))
        self._place(pipeline)
        self._n_bytes = self._count()

    @classmethod
    def load(cls, model: Model, config: ImageConfig, form: ImageForm) -> "DiffusersImages":
        """Load the weights in a form; raise `ModelLoadError` when they cannot be had."""
        with clear_errors(model), quietly():
            folder = open_folder(model)
            dtype = dtype_of(config.dtype, torch_device(config.device))
            with BUILDING:
                pipeline = AutoPipelineForText2Image.from_pretrained(
                    str(folder.path), dtype=dtype, use_safetensors=True, local_files_only=True
                )
            return cls(model, pipeline, form=form, config=config)

    @property
    def n_bytes(self) -> int:
        """Bytes of the device that its weights take; 0 when it is closed."""
        return self._n_bytes

    @property
    def weight_bytes(self) -> int:
        """All of them: nothing else stays in memory between two uses."""
        return self._n_bytes

    def draw(self, drawing: Drawing) -> AsyncGenerator[Step | bytes, None]:
        """
        Yield each step, then the picture as PNG; closing the generator stops it at the next step.

        Raises
        ------
        RateLimitError
            If too many pictures wait already.
        ModelLoadError
            If LoRA weights cannot be put on the model.
        NoRoomError
            If the device ran out of memory.
        InputError
            If the model's own check refused the picture.
        UnavailableError
            If the model failed.
        """
        return self._turns.take(partial(self._make, drawing))

    def rest(self) -> None:
        """Give nothing back: it keeps nothing between pictures."""

    def close(self) -> None:
        """End the picture under way at its next step, and give the memory back."""
        self._turns.close()
        self._n_bytes = 0
        for maker in self._makers.values():
            maker.remove_all_hooks()
        self._makers.clear()
        self._placed = None

    def _make(self, drawing: Drawing, turn: Turn[Step | bytes]) -> None:
        """Make a picture; on the thread."""
        try:
            self._wear(drawing.lora, drawing.lora_scale)
            turn.say(self._drawn(drawing, turn))
        except (LabError, StoppedError):
            raise
        except torch.OutOfMemoryError as error:
            raise self._full(drawing, error) from None
        except Exception as error:
            if "can't allocate memory" in str(error):  # which is what the CPU's allocator says
                raise self._full(drawing, error) from None
            raise UnavailableError(
                f"`{self.model.id}` could not make the picture: {first_line(error)}"
            ) from error
        finally:
            self._tidy()

    def _drawn(self, drawing: Drawing, turn: Turn[Step | bytes]) -> bytes:
        """Return the picture as PNG."""
        pipeline = self._maker(drawing)

        def after_step(maker: Any, index: int, timestep: Any, kept: Any) -> Any:
            turn.go_on()
            turn.say(Step(index + 1, max(maker.num_timesteps, index + 1)))
            return kept

        turn.go_on()
        own = parameters(pipeline)["num_inference_steps"].default
        turn.say(Step(0, drawing.steps or int(own)))
        made = pipeline(
            **arguments(pipeline, drawing),
            generator=torch.Generator("cpu").manual_seed(drawing.seed),
            callback_on_step_end=after_step,
        )
        if any(getattr(made, "nsfw_content_detected", None) or ()):
            raise InputError(
                f"The safety check of `{self.model.id}` held the picture back; ask for something "
                "else, or take another seed."
            )
        return as_png(made.images[0])

    def _maker(self, drawing: Drawing) -> Any:
        """Return the pipeline for a drawing; all of them share the same networks."""
        base = self._makers["make"]
        if drawing.image is None:
            return self._place(base)
        kind, find = ("inpaint", inpainter) if drawing.mask is not None else ("edit", editor)
        if kind not in self._makers:
            found = find(base)
            if found is None:
                raise InputError(f"`{self.model.id}` does not change pictures.")
            self._makers[kind] = found
        return self._place(self._makers[kind])

    def _place(self, pipeline: Any) -> Any:
        """Put the networks where the form has them; that holds for one pipeline at a time."""
        pipeline.set_progress_bar_config(disable=True)
        if pipeline is self._placed:
            return pipeline
        if self._form is ImageForm.parts:
            pipeline.enable_model_cpu_offload(device=self._device)
        elif self._form is ImageForm.layers:
            pipeline.remove_all_hooks()
            pipeline.enable_sequential_cpu_offload(device=self._device)
        elif self._placed is None:
            pipeline.to(self._device)
        self._placed = pipeline
        return pipeline

    def _wear(self, name: str | None, scale: float) -> None:
        """Put LoRA weights on the networks, or take them off."""
        base = self._makers["make"]
        if name != self._lora:
            if self._offloads:  # or diffusers places them anew, on a device of its own choice
                base.remove_all_hooks()
                self._placed = None
            self._bare(base)
            if name is not None:
                self._put_on(base, name, _lora_file(name, self._loras))
            self._n_bytes = self._count()
        if name is not None:
            base.set_adapters([ADAPTER], [scale])

    def _put_on(self, base: Any, name: str, file: Any) -> None:
        self._lora = name
        try:
            with quietly(), BUILDING:
                base.load_lora_weights(
                    str(file.parent), weight_name=file.name, adapter_name=ADAPTER
                )
            if not base.get_list_adapters():
                raise ValueError("none of its weights is for a network of this model")
        except (AttributeError, ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
            self._bare(base)
            raise ModelLoadError(
                f"The LoRA `{name}` does not fit `{self.model.id}`: {first_line(error)}; it was "
                "made for another model, or is damaged."
            ) from error

    def _bare(self, base: Any) -> None:
        if self._lora is not None:
            base.unload_lora_weights()
            self._lora = None

    def _count(self) -> int:
        """Return the bytes of the device that weights take while nothing is made."""
        if self._offloads:
            return 0
        return sum(network_bytes(network) for network in networks_of(self._makers["make"]).values())

    def _full(self, drawing: Drawing, error: Exception) -> NoRoomError:
        return NoRoomError(
            f"`{self.model.id}` found no memory left for a picture of {drawing.width} × "
            f"{drawing.height} ({first_line(error)}): others took some meanwhile. Ask for a "
            "smaller one, try again later, or set LAB_IMAGE_LOW_MEMORY=on."
        )

    def _tidy(self) -> None:
        """Let go of what a picture left behind."""
        if self._placed is not None:
            self._placed.maybe_free_model_hooks()
        gc.collect()
        if self._device.type != "cpu":
            torch.accelerator.empty_cache()


def _lora_file(name: str, known: Mapping[str, str]) -> Any:
    file = weights_file(name, known[name])
    n_weights(f"The LoRA `{name}`", file)
    return file
