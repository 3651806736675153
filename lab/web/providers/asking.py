"""What providers do alike: ask a server for JSON, and say what went wrong."""

import re
from collections.abc import Mapping
from datetime import date
from html import unescape
from typing import Any, Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from lab.errors import SearchError, cut
from lab.schemas.search_provider_kind import SearchProviderKind
from lab.texts import clean

AnswerT = TypeVar("AnswerT", bound=BaseModel)

_KEY = {401, 403}
_MOST_SAID: Final = 200
_TAG = re.compile(r"</?\w+[^<>]*>")


async def ask(
    http: httpx.AsyncClient,
    request: httpx.Request,
    provider: SearchProviderKind,
    answer: type[AnswerT],
    *,
    refusal: str,
) -> AnswerT:
    """
    Return what a server answers.

    Parameters
    ----------
    http : AsyncClient
        What it is asked by.
    request : Request
        What it is asked.
    provider : SearchProviderKind
        Who is asked.
    answer : type
        The shape of its answer.
    refusal : str
        What to do where it lets nobody in.

    Raises
    ------
    SearchError
        If it does not answer, or not so.
    """
    try:
        response = await http.send(request, follow_redirects=False)
    except httpx.HTTPError as error:
        why = str(error) or type(error).__name__
        raise search_error(provider, f"its server does not answer ({why})") from error
    if response.status_code != 200:
        raise search_error(provider, _refused(response, refusal))
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        raise search_error(
            provider, "its server did not answer as its API does; see what its address names"
        ) from error


def search_error(provider: SearchProviderKind, why: str) -> SearchError:
    """Return the error of a provider that could not look."""
    return SearchError(f"The search by `{provider}` failed: {why}.")


def plain_text(text: str | None) -> str:
    r"""
    Return a title or snippet on one line, without markup.

    >>> plain_text("<strong>Lab</strong> &amp;\n tools, 1 < 2")
    'Lab & tools, 1 < 2'
    """
    return " ".join(clean(unescape(_TAG.sub("", text or ""))).split())


def day_of(moment: str | None) -> str | None:
    """
    Return the day of a moment as ISO 8601 writes it; None for other words.

    >>> day_of("2026-03-01T08:00:00"), day_of("2 days ago")
    ('2026-03-01', None)
    """
    try:
        return date.fromisoformat((moment or "")[:10]).isoformat()
    except ValueError:
        return None


def _refused(response: httpx.Response, refusal: str) -> str:
    said = f"it answered {response.status_code}"
    if message := _message(response):
        said += f" ({cut(message, _MOST_SAID)})"
    if response.status_code in _KEY:
        return f"{said}; {refusal}"
    if response.status_code == 429:
        return f"{said}; it is asked too often, or its quota is used up"
    return said


def _message(response: httpx.Response) -> str:
    """Return what a server says is wrong, as the APIs of providers put it."""
    try:
        body: Any = response.json()
    except ValueError:
        return ""
    for name in ("error", "detail", "message"):
        if isinstance(body, Mapping) and name in body:
            body = body[name]
    return plain_text(body) if isinstance(body, str) else ""
