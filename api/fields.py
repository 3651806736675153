"""The fields of a form beside its files, checked as a body is."""

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

M = TypeVar("M", bound=BaseModel)


def fields_of(kind: type[M], values: Mapping[str, Any]) -> M:
    """Return what the fields of a form make; raise `RequestValidationError` for a wrong one."""
    texts = {key: value for key, value in values.items() if not isinstance(value, UploadFile)}
    try:
        return kind.model_validate(texts)
    except ValidationError as error:
        problems = [{**one, "loc": ("body", *one["loc"])} for one in error.errors()]
        raise RequestValidationError(problems) from None
