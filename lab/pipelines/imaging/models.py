"""The lab's image model: what it takes, and leases on it. Imports no torch until it is asked."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING
from uuid import UUID

from lab.errors import InputError, ModelLoadError, UnknownModelError
from lab.pipelines.imaging.drawing import ImagePipeline, Traits
from lab.pipelines.imaging.forms import ImageForm
from lab.pipelines.imaging.loras import check_known, named, weights_file
from lab.pipelines.need import Prospect
from lab.pipelines.residency import Growth, Loader, Residents
from lab.schemas.image_config import ImageConfig
from lab.schemas.model import Model

if TYPE_CHECKING:
    from lab.pipelines.imaging.foretelling import Foresight
    from lab.pipelines.imaging.pipeline import DiffusersImages


class ImageModels:
    """
    Leases on the image model, which shares the memory of its device with all others.

    Parameters
    ----------
    config : ImageConfig
        Names it.
    model : Model or None
        Its entry in the catalog; None = the lab has none.
    residents : Residents
        The models in memory.
    """

    def __init__(self, config: ImageConfig, model: Model | None, residents: Residents) -> None:
        self._config = config
        self._model = model
        self._residents = residents
        self._lock = threading.Lock()
        self._asking = asyncio.Lock()  # so that those who ask at once take one thread, not all
        self._foresight: Foresight | None = None

    def named(self, name: str | None) -> Model:
        """
        Return the image model; None asks for whichever it is.

        Raises
        ------
        InputError
            If the lab has none.
        UnknownModelError
            If it has another name.
        """
        if self._model is None:
            raise InputError(
                "This lab makes no pictures: no image model is set. Set LAB_IMAGE_MODEL to the "
                "folder or the Hugging Face id of a diffusers pipeline, and start the lab again."
            )
        if name not in (None, self._model.id):
            raise UnknownModelError(name, [self._model.id])
        return self._model

    async def traits(self, name: str | None, lora: str | None) -> Traits:
        """
        Return what the model takes; nothing is loaded.

        Raises
        ------
        ModelLoadError
            If its files or those of the LoRA weights are damaged.
        InputError
            If there is no model, or no LoRA weights of that name.
        """
        self.named(name)
        loras = named(self._config.loras)
        if lora is not None:
            check_known(lora, loras)
            await asyncio.to_thread(_check_lora, lora, loras[lora])
        async with self._asking:
            return (await asyncio.to_thread(self._foreseen)).traits

    def lease(
        self, *, purpose: str = "image", owner: UUID | None = None
    ) -> AbstractAsyncContextManager[ImagePipeline]:
        """Lease the model; loads it when nobody has."""
        model = self.named(None)
        return self._residents.lease(model.id, self.loader(), purpose=purpose, owner=owner)

    def loader(self) -> "Loader[ImageForm, DiffusersImages]":
        """Return how it is loaded."""
        return Loader(self._foretell, self._load)

    def _foretell(self) -> Prospect[ImageForm]:
        return self._foreseen().prospect

    def _load(self, form: ImageForm, growth: Growth) -> "DiffusersImages":
        from lab.pipelines.imaging.pipeline import DiffusersImages  # noqa: PLC0415 - imports torch

        try:
            return DiffusersImages.load(self.named(None), self._config, form)
        except ModelLoadError:
            self._foresight = None  # its files may be others next time
            raise

    def _foreseen(self) -> "Foresight":
        """Return what is known of the model, found out once; blocks."""
        foresee = _foresee()
        with self._lock:
            if self._foresight is None:
                self._foresight = foresee(self.named(None), self._config)
            return self._foresight


def _foresee() -> "Callable[[Model, ImageConfig], Foresight]":
    from lab.pipelines.imaging.quiet import quietly  # noqa: PLC0415 - imports torch

    with quietly():
        from lab.pipelines.imaging.foretelling import foresee  # noqa: PLC0415 - imports torch

    return foresee


def _check_lora(name: str, source: str) -> None:
    from lab.pipelines.imaging.folder import n_weights  # noqa: PLC0415 - imports torch

    n_weights(f"The LoRA `{name}`", weights_file(name, source))
