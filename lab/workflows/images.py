"""Make pictures and change them: what is asked is checked, made, stored and told step by step."""

import asyncio
import re
import secrets
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import sqrt
from typing import TYPE_CHECKING, Any
from uuid import UUID

from lab.db import Database
from lab.errors import InputError
from lab.pipelines.imaging.drawing import Drawing, Step, Traits
from lab.pipelines.imaging.models import ImageModels
from lab.pipelines.imaging.pictures import as_image, as_mask, read_picture
from lab.schemas.image import Image
from lab.schemas.image_config import ImageConfig
from lab.schemas.image_event import ImageEvent
from lab.schemas.image_event_type import ImageEventType
from lab.schemas.image_request import ImageRequest

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

PNG = "image/png"
MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Upload:
    """
    What a picture is edited from.

    Attributes
    ----------
    image : bytes
        A PNG, JPEG or WebP file.
    mask : bytes or None
        Says which part is made anew.
    """

    image: bytes
    mask: bytes | None = None


class ImageMaker:
    """
    Makes pictures for people.

    Parameters
    ----------
    database : Database
        Where they are stored.
    models : ImageModels
        Who makes them.
    config : ImageConfig
        The limits.
    """

    def __init__(self, database: Database, models: ImageModels, config: ImageConfig) -> None:
        self._database = database
        self._models = models
        self._config = config

    async def make(
        self,
        owner_id: UUID,
        request: ImageRequest,
        upload: Upload | None = None,
        *,
        id: UUID | None = None,
    ) -> AsyncGenerator[ImageEvent, None]:
        """
        Yield the steps of each picture, and each picture once it is stored.

        Closing the generator stops at the next step; what is stored by then stays.

        Parameters
        ----------
        owner_id : UUID
            Whose they are.
        request : ImageRequest
            What is asked for.
        upload : Upload, optional
            What they are made from.
        id : UUID, optional
            Of the picture, where it is one.

        Raises
        ------
        InputError
            If the lab has no image model, or they do not take what is asked for.
        ModelLoadError
            If the model cannot be loaded.
        """
        self._check(request, upload)
        model = self._models.named(request.model)
        pictures = await asyncio.to_thread(self._pictures, upload)
        traits = await self._models.traits(request.model, request.lora)
        drawing = await asyncio.to_thread(self._drawing, request, traits, pictures)
        source = await self._source(owner_id, upload)
        async with self._models.lease(owner=owner_id) as pipeline:
            for index in range(request.n or 1):
                one = replace(drawing, seed=(drawing.seed + index) % (MAX_SEED + 1))
                made = _Made(index, is_edit=upload is not None)
                async with aclosing(pipeline.draw(one)) as steps:
                    async for step in steps:
                        if isinstance(step, Step):
                            yield made.progress(step)
                        else:
                            image = await self._store(owner_id, model.id, one, step, source, id)
                            yield made.completed(image, one, step)

    def check_ready(self) -> None:
        """Raise `InputError` where the lab has no image model."""
        self._models.named(None)

    def _check(self, request: ImageRequest, upload: Upload | None) -> None:
        """Refuse what no model is needed for to see that it cannot be done."""
        config = self._config
        wrong = {
            "response_format": request.response_format not in (None, "b64_json")
            and "this lab sends the bytes; ask for `b64_json`, or leave it out",
            "output_format": request.output_format not in (None, "png")
            and "this lab makes PNG; leave it out",
            "n": (request.n or 1) > config.max_images
            and f"at most {config.max_images} pictures are made at once (LAB_IMAGE_MAX_IMAGES)",
            "steps": (request.steps or 1) > config.max_steps
            and f"at most {config.max_steps} are taken (LAB_IMAGE_MAX_STEPS)",
            "strength": request.strength is not None
            and upload is None
            and "it is of edits (POST /v1/images/edits); leave it out",
            "prompt": "\0" in request.prompt + (request.negative_prompt or "")
            and "it holds a NUL character; send it without",
        }
        for field, why in wrong.items():
            if why:
                raise InputError(f"`{field}`: {why}.")
        if request.size is not None:
            self._check_limits(*_sides(request.size), request.size)

    def _check_limits(self, width: int, height: int, said: str) -> None:
        config = self._config
        if width * height <= config.max_pixels and max(width, height) <= config.max_side:
            return
        raise InputError(
            f"`size`: {said} is too large; at most {config.max_pixels:,} pixels are made "
            f"(LAB_IMAGE_MAX_PIXELS), and {config.max_side:,} along a side (LAB_IMAGE_MAX_SIDE)."
        )

    def _pictures(self, upload: Upload | None) -> "tuple[Picture, Picture | None] | None":
        """Decode what was sent; blocks."""
        if upload is None:
            return None
        most = self._config.max_upload_pixels
        image = read_picture(upload.image, most, "image")
        mask = None if upload.mask is None else read_picture(upload.mask, most, "mask")
        return image, mask

    def _drawing(
        self,
        request: ImageRequest,
        traits: Traits,
        pictures: "tuple[Picture, Picture | None] | None",
    ) -> Drawing:
        """Return what is to be made, or raise for what the model does not take; blocks."""
        image, mask = pictures or (None, None)
        _check_taken(request, traits, is_edit=image is not None, has_mask=mask is not None)
        width, height = self._size(request, traits, image)
        strength = traits.strength if request.strength is None else request.strength
        return Drawing(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            width=width,
            height=height,
            seed=secrets.randbits(32) if request.seed is None else request.seed,
            steps=request.steps or self._config.steps or min(traits.steps, self._config.max_steps),
            guidance=self._guidance(request, traits),
            strength=None if image is None else strength,
            lora=request.lora,
            lora_scale=1.0 if request.lora_scale is None else request.lora_scale,
            image=None if image is None else as_image(image, width, height),
            mask=None if mask is None else as_mask(mask, width, height),
        )

    def _guidance(self, request: ImageRequest, traits: Traits) -> float | None:
        if traits.guidance is None:
            return None
        wanted = (request.guidance, self._config.guidance, traits.guidance)
        return next(value for value in wanted if value is not None)

    def _size(
        self, request: ImageRequest, traits: Traits, image: "Picture | None"
    ) -> tuple[int, int]:
        """Return width and height: as asked for, else those of the picture or of the model."""
        width, height = _sides(request.size) if request.size is not None else (0, 0)
        if width and height:
            if width % traits.multiple or height % traits.multiple:
                raise InputError(
                    f"`size`: {request.size} is none that the model makes; width and height must "
                    f"be multiples of {traits.multiple}, such as "
                    f"{_fitting(width, traits.multiple)}x{_fitting(height, traits.multiple)}."
                )
            return width, height
        width, height = (traits.side, traits.side) if image is None else image.size
        shrink = min(
            1.0,
            sqrt(self._config.max_pixels / (width * height)),
            self._config.max_side / max(width, height),
        )
        return (
            _fitting(int(width * shrink), traits.multiple),
            _fitting(int(height * shrink), traits.multiple),
        )

    async def _source(self, owner_id: UUID, upload: Upload | None) -> UUID | None:
        """Return the owner's made picture that is edited, where its own bytes were sent."""
        if upload is None:
            return None
        async with self._database.stores(owner_id) as stores:
            return await stores.images.made_of(upload.image)

    async def _store(
        self,
        owner_id: UUID,
        model_id: str,
        drawing: Drawing,
        png: bytes,
        source: UUID | None,
        id: UUID | None,
    ) -> Image:
        """Store bytes and what they were made from, in one transaction."""
        async with self._database.stores(owner_id) as stores:
            file = await stores.files.add(png, PNG)
            return await stores.images.add(
                file.id,
                drawing.prompt,
                model_id,
                _parameters(drawing),
                source_id=source,
                id=id,
            )


class _Made:
    """
    Tells of one picture of a request.

    Parameters
    ----------
    index : int
        Which, from 0.
    is_edit : bool
        Whether it was made from another.
    """

    def __init__(self, index: int, *, is_edit: bool) -> None:
        self._index = index
        self._step = Step(0, 0)
        self._type = (
            ImageEventType.image_edit_completed
            if is_edit
            else ImageEventType.image_generation_completed
        )

    def progress(self, step: Step) -> ImageEvent:
        """Return the event of a step."""
        self._step = step
        return ImageEvent(
            type=ImageEventType.progress, index=self._index, step=step.done, n_steps=step.of
        )

    def completed(self, image: Image, drawing: Drawing, png: bytes) -> ImageEvent:
        """Return the event of the picture."""
        return ImageEvent(
            type=self._type,
            index=self._index,
            step=self._step.done,
            n_steps=self._step.of,
            b64_json=b64encode(png).decode(),
            image=image,
            created_at=int(image.created_at.timestamp()),
            size=f"{drawing.width}x{drawing.height}",
        )


def _sides(size: str) -> tuple[int, int]:
    """
    Return width and height that a request names; 0 for `auto`.

    >>> _sides("512x768"), _sides("auto")
    ((512, 768), (0, 0))
    """
    if size == "auto":
        return 0, 0
    found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", size)
    if found is None:
        raise InputError(
            f"`size`: {size!r} is none; write width and height in pixels, such as `512x512`, or "
            "`auto`."
        )
    return int(found[1]), int(found[2])


def _fitting(length: int, multiple: int) -> int:
    """
    Return the multiple that is nearest below a length, and at least one.

    >>> _fitting(100, 8), _fitting(3, 8)
    (96, 8)
    """
    return max(length // multiple, 1) * multiple


def _check_taken(request: ImageRequest, traits: Traits, *, is_edit: bool, has_mask: bool) -> None:
    """Refuse what the model does not take."""
    wrong = {
        "negative_prompt": request.negative_prompt is not None and not traits.takes_negative,
        "guidance": request.guidance is not None and traits.guidance is None,
        "strength": request.strength is not None and traits.strength is None,
        "image": is_edit and not traits.edits,
        "mask": has_mask and not traits.inpaints,
    }
    for field, refused in wrong.items():
        if refused:
            raise InputError(
                f"`{field}`: the image model of this lab does not take it; leave it out."
            )


def _parameters(drawing: Drawing) -> dict[str, Any]:
    """Return what a picture was made with, seed included."""
    values = {
        "size": f"{drawing.width}x{drawing.height}",
        "seed": drawing.seed,
        "steps": drawing.steps,
        "guidance": drawing.guidance,
        "negative_prompt": drawing.negative_prompt,
        "strength": drawing.strength,
        "lora": drawing.lora,
        "lora_scale": drawing.lora_scale if drawing.lora is not None else None,
        "mask": True if drawing.mask is not None else None,
    }
    return {key: value for key, value in values.items() if value is not None}
