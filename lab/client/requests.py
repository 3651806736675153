"""Requests of the client, checked before they are sent."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lab.errors import InputError, cut

M = TypeVar("M", bound=BaseModel)


def checked(kind: type[M], /, **values: Any) -> M:
    """
    Return the request that the values make.

    Raises
    ------
    InputError
        With the first value that is wrong.

    Examples
    --------
    >>> from lab.schemas.conversation_request import ConversationRequest
    >>> checked(ConversationRequest, title="")
    Traceback (most recent call last):
    lab.errors.InputError: `title` = '': String should have at least 1 character.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        problem = error.errors()[0]
        name = ".".join(map(str, problem["loc"]))
        shown = cut(repr(problem["input"]))
        known = f" Known: {', '.join(kind.model_fields)}." * (problem["type"] == "extra_forbidden")
        raise InputError(f"`{name}` = {shown}: {problem['msg']}.{known}") from None
