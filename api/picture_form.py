"""The form in which pictures come to be edited: the sender is known before any of it is read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.deps import InferDep
from api.disconnect import GONE
from api.fields import fields_of
from lab.errors import InputError
from lab.schemas.image_request import ImageRequest
from lab.workflows.images import Upload

FILE: Final = {"type": "string", "format": "binary"}
EDIT_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image", "prompt"],
                    "properties": {
                        "image": FILE,
                        "mask": FILE,
                        **ImageRequest.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}
"""The form, for the OpenAPI document: FastAPI does not see what it does not read."""
MAX_FIELDS: Final = 30


@dataclass(frozen=True, slots=True)
class PictureForm:
    """What came: the pictures, and what is to be done with them."""

    request: ImageRequest
    upload: Upload


async def _sent(request: Request, owner: InferDep) -> AsyncIterator[PictureForm]:
    """
    Yield the form of an edit.

    Raises
    ------
    InputError
        If no picture came.
    RequestValidationError
        If a field is wrong.
    """
    try:
        form = await request.form(max_files=2, max_fields=MAX_FIELDS)
    except ClientDisconnect as error:
        raise HTTPException(GONE, "The client left before it was answered.") from error
    try:
        image, mask = _file(form, "image", "image[]"), _file(form, "mask")
        if image is None:
            raise InputError(
                "`image`: no picture came; send a form (multipart/form-data) with the picture in "
                "the field `image`."
            )
        upload = Upload(await image.read(), None if mask is None else await mask.read())
        yield PictureForm(fields_of(ImageRequest, form), upload)
    finally:
        await form.close()


def _file(form: FormData, *names: str) -> UploadFile | None:
    """Return the file of a field, or None."""
    found = [value for name in names for value in form.getlist(name)]
    if len(found) > 1:
        raise InputError(f"`{names[0]}`: {len(found)} files came; one picture is edited at a time.")
    return found[0] if found and isinstance(found[0], UploadFile) else None


PictureFormDep = Annotated[PictureForm, Depends(_sent)]
"""The pictures and fields that came, of a sender who may ask models."""
