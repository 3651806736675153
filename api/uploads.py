"""Files that come as a form: the sender is known before any of it is read."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api.deps import MemoryDep
from api.disconnect import GONE
from lab.errors import InputError

FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}
"""The form, for the OpenAPI document: FastAPI does not see what it does not read."""


async def _uploaded(request: Request, owner: MemoryDep) -> AsyncIterator[UploadFile]:
    """
    Yield the file of a form, in a temporary file that is gone afterwards.

    A parameter of the route would be read by FastAPI before it asks who sends it.

    Raises
    ------
    InputError
        If no form with a file came.
    """
    try:
        form = await request.form(max_files=1, max_fields=10)
    except ClientDisconnect as error:
        raise HTTPException(GONE, "The client left before it was answered.") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InputError(
                "`file`: no file came; send a form (multipart/form-data) with the file in the "
                "field `file`."
            )
        yield file
    finally:
        await form.close()


UploadDep = Annotated[UploadFile, Depends(_uploaded)]
"""The file that came, of a sender who may store it."""
