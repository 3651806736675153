"""Why Scrapy has no page, in the lab's words."""

from collections.abc import Mapping, Sequence
from typing import Final

from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadTimeoutError,
    IgnoreRequest,
    ResponseDataLossError,
    StopDownload,
)
from scrapy.http import Response
from twisted.python.failure import Failure

from lab.errors import BlockedAddressError
from lab.schemas.web_failure_reason import WebFailureReason as Why
from lab.web.decoding import media_type_of
from lab.web.guarding import RefusedError
from lab.web.records import Job

_IGNORED: Final = {
    "Forbidden by robots.txt": Why.robots,
    "max redirections reached": Why.redirects,
    "DOWNLOAD_MAXSIZE": Why.too_large,
}
"""What Scrapy says of requests that it ignores."""
_UNREACHABLE: Final[Mapping[type, str]] = {
    CannotResolveHostError: "None of its server's addresses may be connected to.",
    DownloadConnectionRefusedError: "Its server refuses connections.",
    ResponseDataLossError: "Its server broke off before all of it was sent.",
}


def failure_of(failure: Failure, job: Job) -> tuple[Why, str]:
    """Return why a request gave no page, and what to tell people."""
    error = failure.value
    if isinstance(error, RefusedError):
        blocked = isinstance(error.error, BlockedAddressError)
        return Why.blocked if blocked else Why.address, str(error.error)
    if isinstance(error, StopDownload) and error.response is not None:
        kind = media_type_of(b"", content_type(error.response))
        return Why.media_type, not_read(kind, job.pages.media_types)
    reason = _reason(error)
    if reason is not Why.unreachable:
        return reason, _LIMITS[reason].format(web=job.web)
    return reason, _UNREACHABLE.get(type(error), f"Its server cannot be reached ({error}).")


def content_type(response: Response) -> str:
    """Return the kind of a body as its server declares it; empty where it does not."""
    return (response.headers.get("Content-Type") or b"").decode("latin-1")


def not_read(kind: str, kinds: Sequence[str]) -> str:
    """Return what to tell people of a kind of page that is not read."""
    return f"It is `{kind[:80]}`; what is read is {', '.join(kinds)} (pages.media_types)."


_LIMITS: Final = {
    Why.robots: "Its site's robots.txt closes it to this lab (pages.obey_robots).",
    Why.redirects: "It leads on and on: more than {web.max_redirects} redirects.",
    Why.too_large: "It has more than {web.max_bytes:,} bytes (web.max_bytes).",
    Why.timeout: "It did not come within {web.timeout_s:g} s (web.timeout_s).",
}


def _reason(error: BaseException | None) -> Why:
    if isinstance(error, DownloadTimeoutError):
        return Why.timeout
    if isinstance(error, DownloadCancelledError):  # by the limit of bytes, as nothing else cancels
        return Why.too_large
    if isinstance(error, IgnoreRequest):
        said = str(error)
        return next((why for part, why in _IGNORED.items() if part in said), Why.unreachable)
    return Why.unreachable
