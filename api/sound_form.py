"""The form in which sound comes: the sender is known before any of it is read."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.deps import InferDep
from api.disconnect import GONE
from api.fields import fields_of
from lab.errors import InputError
from lab.schemas.transcription_request import TranscriptionRequest

SOUND_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        **TranscriptionRequest.model_json_schema(
                            ref_template="#/components/schemas/{model}"
                        )["properties"],
                    },
                }
            }
        },
    }
}
"""The form, for the OpenAPI document: FastAPI does not see what it does not read."""
MAX_FIELDS: Final = 20
LIST: Final = "timestamp_granularities"


@dataclass(frozen=True, slots=True)
class SoundForm:
    """What came: the file, and what is to be done with it."""

    request: TranscriptionRequest
    file: IO[bytes]


async def _sent(request: Request, owner: InferDep) -> AsyncIterator[SoundForm]:
    """
    Yield the form, its file in a temporary one that is gone afterwards.

    Raises
    ------
    InputError
        If no file came.
    RequestValidationError
        If a field is wrong.
    """
    try:
        form = await request.form(max_files=1, max_fields=MAX_FIELDS)
    except ClientDisconnect as error:
        raise HTTPException(GONE, "The client left before it was answered.") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InputError(
                "`file`: no file came; send a form (multipart/form-data) with the sound in the "
                "field `file`."
            )
        lists = {LIST: [*form.getlist(f"{LIST}[]"), *form.getlist(LIST)]}
        texts = {key: value for key, value in form.items() if key.removesuffix("[]") != LIST}
        given = texts | {key: values for key, values in lists.items() if values}
        yield SoundForm(fields_of(TranscriptionRequest, given), file.file)
    finally:
        await form.close()


SoundFormDep = Annotated[SoundForm, Depends(_sent)]
"""The sound and fields that came, of a sender who may ask models."""
