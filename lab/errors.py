"""
Every error that `lab` raises on purpose.

LabError
├── InputError            (also ValueError)    a request or a value is wrong
│   ├── CodeError                              code that ran in the sandbox failed
│   ├── ContextLengthError                     a prompt does not fit the model's window
│   ├── DimensionError                         an array has the wrong shape
│   ├── DocumentError                          a document or file cannot be read
│   │   ├── MediaTypeError                     it is of a kind that the lab does not read
│   │   └── DocumentTooLargeError              it is larger than the operator allows
│   ├── FetchError                             an address of the web gives nothing to use
│   │   └── BlockedAddressError                the lab does not go there
│   ├── UnclearReplyError                      a run asks several things; a reply names none
│   └── ConfigError                            a setting is wrong
│       ├── UnknownKeyError                    no setting has that name
│       └── LockedKeyError                     the operator locked that setting
├── NotFoundError         (also LookupError)   nothing of the caller's has that id
│   └── UnknownModelError                      no model or profile has that name
├── ConflictError                              something is there already, or changed meanwhile
├── AuthenticationError                        no valid token came with the request
├── PermissionDeniedError                      the token may not do that
├── RateLimitError                             too much at once; try again later
└── UnavailableError                           a part of the lab does not answer
    ├── DatabaseError                          the database
    ├── ModelLoadError                         a model
    │   └── NoRoomError                        its device's memory is taken
    ├── RemoteError                            a server elsewhere that runs a model
    ├── BreakerOpenError                       a model or tool that kept failing
    ├── SearchError                            who searches the web
    └── ServiceError                           a process of the lab

The message says what came, what was expected and what to do. `code` is what programs read and
`status` the HTTP status the API answers with.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import ClassVar, Final

INTERRUPTED: Final = "The run was interrupted before its answer was whole; resume it, or ask again."
"""Why there is no answer of a run that was paused, or that its lab did not outlive."""


class LabError(Exception):
    """Base class: catch this to catch every error of the lab."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500


class InputError(LabError, ValueError):
    """A request or a value is wrong."""

    code = "invalid_request"
    status = 400


class ContextLengthError(InputError):
    """A prompt does not fit the model's window."""

    code = "context_length_exceeded"

    def __init__(self, n_tokens: int, context_length: int, answer_tokens: int = 0) -> None:
        kept = f", {answer_tokens} of them kept for the answer" if answer_tokens else ""
        super().__init__(
            f"The prompt has {n_tokens} tokens and the window holds {context_length}{kept}; "
            "shorten the message or choose a model with a longer window."
        )
        self.n_tokens = n_tokens
        self.context_length = context_length


class DimensionError(InputError):
    """An array has the wrong shape."""

    def __init__(self, name: str, shape: Sequence[int], expected: str) -> None:
        super().__init__(f"{name} has shape {tuple(shape)}, expected {expected}.")
        self.shape = tuple(shape)
        self.expected = expected


class UnclearReplyError(InputError):
    """A reply to a run that asks several things at once does not say to which."""

    code = "unclear_reply"
    status = 422

    def __init__(self, questions: Sequence[str]) -> None:
        named = ", ".join(f"`{id}`" for id in questions)
        super().__init__(
            f"The run asks {len(questions)} questions at once: {named}. Name the one that you "
            "reply to by its id: {ID: REPLY}."
        )


class CodeError(InputError):
    """Code that ran in the sandbox failed, or took more than it may."""

    code = "code_failed"
    status = 422


class DocumentError(InputError):
    """A document or another file cannot be read."""

    code = "unreadable_document"
    status = 422


class MediaTypeError(DocumentError):
    """A document or file is of a kind that the lab does not read, or not what it is called."""

    code = "unsupported_media_type"
    status = 415


class DocumentTooLargeError(DocumentError):
    """A document or another file is larger than the operator allows."""

    code = "document_too_large"
    status = 413


class FetchError(InputError):
    """An address of the web gives nothing that can be used."""

    code = "fetch_failed"


class BlockedAddressError(FetchError):
    """An address of the web that the lab does not go to."""

    code = "blocked_address"
    status = 403


class ConfigError(InputError):
    """A setting is wrong."""

    code = "invalid_setting"


class UnknownKeyError(ConfigError):
    """No setting has that name."""

    code = "unknown_setting"

    def __init__(self, key: str, known: Sequence[str], source: str) -> None:
        super().__init__(f"Unknown setting `{key}` in {source}.{nearest(key, known)}")
        self.key = key


class LockedKeyError(ConfigError):
    """The operator locked that setting."""

    code = "locked_setting"
    status = 403

    def __init__(self, key: str) -> None:
        super().__init__(f"`{key}` is locked by the operator of this lab; ask them to change it.")
        self.key = key


class NotFoundError(LabError, LookupError):
    """Nothing of the caller's has that id."""

    code = "not_found"
    status = 404

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(f"No {kind} `{key}`; list yours to see what is there.")
        self.kind = kind
        self.key = key


class UnknownModelError(NotFoundError):
    """No model or profile has that name."""

    code = "model_not_found"

    def __init__(self, name: str, known: Sequence[str], what: str = "model") -> None:
        LabError.__init__(
            self,
            f"Unknown {what} `{name}`.{nearest(name, known)} "
            f"There are: {', '.join(known) or 'none'}.",
        )
        self.kind = "model"
        self.key = name


class ConflictError(LabError):
    """Something of that name is there already, or somebody else changed it meanwhile."""

    code = "conflict"
    status = 409


class AuthenticationError(LabError):
    """No valid token came with the request."""

    code = "invalid_api_key"
    status = 401


class PermissionDeniedError(LabError):
    """The token may not do that."""

    code = "permission_denied"
    status = 403


class RateLimitError(LabError):
    """Too much at once; try again after `retry_after_s` seconds."""

    code = "rate_limit_exceeded"
    status = 429
    retry_after_s: float = 1.0

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class UnavailableError(LabError):
    """A part of the lab does not answer."""

    code = "service_unavailable"
    status = 503


class DatabaseError(UnavailableError):
    """The database does not answer."""

    code = "database_unavailable"


class ModelLoadError(UnavailableError):
    """A model could not be loaded."""

    code = "model_unavailable"


class NoRoomError(ModelLoadError):
    """A model finds no room in the memory of its device."""

    code = "no_room"


class RemoteError(UnavailableError):
    """A server elsewhere does not answer, or not as it should."""

    code = "remote_failed"
    status = 502


class SearchError(UnavailableError):
    """A search of the web could not be made; nothing was found is no error."""

    code = "search_failed"
    status = 502


class BreakerOpenError(UnavailableError):
    """A model or tool kept failing, and is not asked for a while."""

    code = "breaker_open"

    def __init__(self, kind: str, name: str, waits_s: float) -> None:
        super().__init__(
            f"The {kind} `{name}` kept failing and is not asked for now; try again in "
            f"{waits_s:.0f} s, or use another."
        )


class ServiceError(UnavailableError):
    """A process of the lab could not be started or reached."""


def nearest(name: str, known: Sequence[str]) -> str:
    """
    Return ` Did you mean …?` for the known names close to `name`, or nothing.

    >>> nearest("lab-tinny", ["lab-tiny", "gpt"])
    ' Did you mean `lab-tiny`?'
    """
    close = get_close_matches(name, known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(f'`{c}`' for c in close)}?" if close else ""


def cut(text: str, n_characters: int = 80) -> str:
    """
    Return a text, or its beginning with `…`, in at most so many characters.

    >>> cut("lab-tiny", 5)
    'lab-…'
    """
    return text if len(text) <= n_characters else f"{text[: n_characters - 1]}…"


def rebuild(code: str, message: str) -> LabError:
    """
    Return the error that another process raised, from its code and message, which is all it tells.

    >>> type(rebuild("model_not_found", "Unknown model.")).__name__
    'UnknownModelError'
    """
    found = next((kind for kind in _kinds(LabError) if kind.code == code), LabError)
    error = found.__new__(found)
    Exception.__init__(error, message)
    return error


def _kinds(kind: type[LabError]) -> Iterator[type[LabError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)
