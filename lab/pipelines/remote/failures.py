"""What a server's refusals and broken answers mean here."""

import json
from typing import Any, Final, NamedTuple

import httpx

from lab.errors import (
    ContextLengthError,
    InputError,
    LabError,
    RateLimitError,
    RemoteError,
    UnknownModelError,
    cut,
    rebuild,
)

MOST_SAID: Final = 300
"""Characters of a server's message that are passed on."""

AGAIN: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request may succeed."""

LONG_PROMPT_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
LONG_PROMPT_WORDS: Final = ("context length", "context size", "context window")


class Advice(NamedTuple):
    """What can be done about a server that fails, in words that end a sentence."""

    key: str
    url: str
    wait: str
    window: str


IN_SETTINGS: Final = Advice(
    key="the operator of this lab sets it by `key` or `key_file` of the endpoint in "
    "remotes.endpoints",
    url="see that it runs, and that `url` in remotes.endpoints is that of an OpenAI-compatible "
    "API, mostly one that ends in `/v1`",
    wait="raise `timeout_s` of the endpoint in remotes.endpoints, or look at that server",
    window="correct `context_length` of the endpoint",
)
"""Of a server that somebody named in the settings."""

AGAIN_OR_UNLOAD: Final = (
    "the lab runs this server itself: try again in a moment, and if that does not help, unload the "
    "model, which ends its server"
)
OF_THE_LAB: Final = Advice(
    key=AGAIN_OR_UNLOAD,
    url=AGAIN_OR_UNLOAD,
    wait="raise `timeout_s` of its engine in the settings, or ask when fewer do",
    window="give the model a longer one in the settings",
)
"""Of a server that the lab started: its address, key and times are nobody's setting."""


class Said(NamedTuple):
    """What a server said of an error, in any of the shapes in use."""

    message: str
    code: str
    details: dict[str, Any]


def said_of(body: Any) -> Said:
    """
    Return what a body says of an error.

    >>> said_of({"error": {"message": "No.", "code": 400, "type": "bad"}}).code
    'bad'
    >>> said_of({"detail": "Nothing here."}).message
    'Nothing here.'
    """
    error = body
    if isinstance(body, dict):
        error = next((body[key] for key in ("error", "detail", "message") if body.get(key)), body)
    if not isinstance(error, dict):
        return Said(error if isinstance(error, str) else json.dumps(error), "", {})
    codes = [error.get("code"), error.get("type")]
    code = next((code for code in codes if isinstance(code, str)), "")
    message = error.get("message")
    return Said(message if isinstance(message, str) else json.dumps(error), code, error)


def body_of(text: str) -> Any:
    """Return what a text is in JSON, or the text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def refusal(
    status: int,
    said: Said,
    *,
    server: str,
    model: str,
    retry_after_s: float = 1.0,
    advice: Advice = IN_SETTINGS,
) -> LabError:
    """
    Return the error that a status and what was said with it amount to.

    Parameters
    ----------
    status : int
        The HTTP status; 0 where the answer had begun already.
    said : Said
        The error's text; no secret may be in it any more.
    server, model : str
        The endpoint's name and the model that was asked for, both for people.
    retry_after_s : float
        When the server wants to be asked again.
    advice : Advice
        What can be done about it.
    """
    words = cut(said.message.strip(), MOST_SAID) or "nothing more"
    if is_long_prompt(said):
        return too_long(said, server, words, advice)
    match status:
        case 400 | 413 | 422:
            return InputError(f"The server `{server}` refuses this request: {words}")
        case 401 | 403:
            return RemoteError(
                f"The server `{server}` refuses the lab's key ({status}: {words}); {advice.key}."
            )
        case 404:
            return not_found(said, server, model, words, advice)
        case 429:
            return RateLimitError(
                f"The server `{server}` takes no more for now ({words}); try again in "
                f"{retry_after_s:g} s.",
                retry_after_s,
            )
        case 0:
            return RemoteError(f"The server `{server}` broke off its answer: {words}")
    return RemoteError(f"The server `{server}` answered {status}: {words}")


def is_long_prompt(said: Said) -> bool:
    """Return whether an error says that the prompt is longer than the window."""
    message = said.message.lower()
    return (
        said.code in LONG_PROMPT_CODES
        or said.details.get("type") in LONG_PROMPT_CODES
        or any(words in message for words in LONG_PROMPT_WORDS)
    )


def too_long(said: Said, server: str, words: str, advice: Advice) -> LabError:
    """Return the error of a prompt that is too long, with both lengths where they were told."""
    n_tokens, length = (said.details.get(key) for key in ("n_prompt_tokens", "n_ctx"))
    if isinstance(n_tokens, int) and isinstance(length, int):
        return ContextLengthError(n_tokens, length)
    return rebuild(
        ContextLengthError.code,
        f"The prompt is longer than the window of the model at `{server}`: {words} Shorten it, "
        f"choose a model with a longer window, or {advice.window}.",
    )


def not_found(said: Said, server: str, model: str, words: str, advice: Advice) -> LabError:
    """Return the error of a 404: of a model that is not there, or of a wrong address."""
    about_model = "model" in said.message.lower() or "model" in said.code.lower()
    if about_model:
        return rebuild(
            UnknownModelError.code, f"The server `{server}` has no model `{model}`: {words}"
        )
    return RemoteError(f"The server `{server}` has nothing there (404: {words}); {advice.url}.")


def unreachable(
    error: httpx.TransportError,
    *,
    server: str,
    url: str,
    waited_s: float,
    advice: Advice = IN_SETTINGS,
) -> LabError:
    """Return the error of a server that could not be asked."""
    if isinstance(error, httpx.ReadTimeout):
        return RemoteError(f"The server `{server}` sent nothing for {waited_s:g} s; {advice.wait}.")
    why = str(error) or type(error).__name__
    return RemoteError(
        f"The server `{server}` cannot be reached at {url} ({cut(why, MOST_SAID)}); {advice.url}."
    )


def broken_off(error: Exception, *, server: str, waited_s: float) -> LabError:
    """Return the error of an answer that ended before its end."""
    if isinstance(error, httpx.ReadTimeout):
        why = f"nothing came for {waited_s:g} s"
    else:
        why = cut(str(error) or type(error).__name__, MOST_SAID)
    return RemoteError(
        f"The server `{server}` broke off its answer ({why}); what came until then is no whole "
        "answer. Send it again."
    )
