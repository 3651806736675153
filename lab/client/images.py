"""Pictures: made from words, changed, looked at, deleted."""

from base64 import b64decode
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

from lab.client.http import Http
from lab.client.pictures import Picture
from lab.client.requests import checked
from lab.errors import InputError, ServiceError
from lab.schemas.image import Image
from lab.schemas.image_event import ImageEvent
from lab.schemas.image_request import ImageRequest

PATH = "/v1/images"

Source = Picture | Path | str | bytes
"""A picture, a file or the bytes of one."""
OnProgress = Callable[[ImageEvent], object]


class Images:
    """
    The user's pictures.

    Examples
    --------
    In a notebook, which shows it::

        await lab.images.generate("a red boat", size="512x512", seed=1)
    """

    def __init__(self, http: Http) -> None:
        self._http = http

    async def generate(
        self, prompt: str, *, on_progress: OnProgress | None = None, **options: Any
    ) -> Picture:
        """
        Make a picture from words.

        Parameters
        ----------
        prompt : str
            What is to be seen.
        on_progress : callable, optional
            Called with each step.
        **options
            Of `ImageRequest`, e.g. `size`, `seed`, `steps`, `guidance`, `negative_prompt`, `lora`.

        Raises
        ------
        InputError
            If the lab has no image model, or they do not take what is asked for.
        ModelLoadError
            If the model cannot be loaded.
        """
        events = self.events(prompt, **options)
        return await _last(events, on_progress)

    async def edit(
        self,
        image: Source,
        prompt: str,
        *,
        mask: Source | None = None,
        on_progress: OnProgress | None = None,
        **options: Any,
    ) -> Picture:
        """
        Change a picture.

        Parameters
        ----------
        image : Picture, path or bytes
            PNG, JPEG or WebP.
        prompt : str
            What is to be seen.
        mask : Picture, path or bytes, optional
            As large as the picture: what is transparent in it, or white where nothing is
            transparent, is made anew and the rest stays.
        on_progress : callable, optional
            Called with each step.
        **options
            Of `ImageRequest`, e.g. `strength`, `size`, `seed`, `steps`.

        Raises
        ------
        InputError
            If there is no such file, it is no picture, or the model does not take what is asked.
        """
        events = self.events(prompt, image=image, mask=mask, **options)
        return await _last(events, on_progress)

    async def events(
        self,
        prompt: str,
        *,
        image: Source | None = None,
        mask: Source | None = None,
        **options: Any,
    ) -> AsyncGenerator[ImageEvent | Picture, None]:
        """
        Yield each step of one or more (`n`) pictures, and each picture once it is there.

        Closing the generator stops the picture at its next step.

        Parameters
        ----------
        prompt, **options
            As `generate` takes them, and `n`.
        image, mask
            As `edit` takes them.
        """
        request = checked(ImageRequest, prompt=prompt, stream=True, **options)
        if image is None:
            stream = self._http.stream(f"{PATH}/generations", ImageEvent, request)
        else:
            stream = self._http.stream(
                f"{PATH}/edits",
                ImageEvent,
                form=request.model_dump(mode="json", exclude_none=True, exclude_unset=True),
                files=_files(image=image, mask=mask),
            )
        async with aclosing(stream) as events:
            async for event in events:
                if event.b64_json is not None and event.image is not None:
                    yield Picture(event.image, b64decode(event.b64_json))
                else:
                    yield event

    async def list(self, limit: int = 50, before: UUID | None = None) -> list[Image]:
        """Return what is stored of pictures, newest first."""
        return await self._http.fetch("GET", PATH, list[Image], limit=limit, before=before)

    async def get(self, image_id: UUID) -> Picture:
        """Return a picture."""
        image = await self._http.fetch("GET", f"{PATH}/{image_id}", Image)
        return Picture(image, await self._http.download(f"{PATH}/{image_id}/content"))

    async def delete(self, image_id: UUID) -> None:
        """Delete a picture; those edited from it stay."""
        await self._http.delete(f"{PATH}/{image_id}")


async def _last(
    events: AsyncGenerator[ImageEvent | Picture, None], on_progress: OnProgress | None
) -> Picture:
    picture: Picture | None = None
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Picture):
                picture = event
            elif on_progress is not None:
                on_progress(event)
    if picture is None:
        raise ServiceError("The lab sent no picture; see its log (`lab logs`).")
    return picture


def _files(**sources: Source | None) -> dict[str, tuple[str, BytesIO]]:
    return {
        field: (f"{field}.png", BytesIO(bytes_of(source)))
        for field, source in sources.items()
        if source is not None
    }


def bytes_of(source: Source) -> bytes:
    """Return the bytes of a picture, or raise `InputError` for a file that cannot be opened."""
    if isinstance(source, Picture):
        return source.content
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"`{source}` cannot be opened: {error.strerror}.") from error
