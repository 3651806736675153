"""Around every request: an id, a limit on its body, one log line, its metrics."""

import time
from secrets import token_hex
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import error_body
from api.metrics import Metrics
from lab.errors import DocumentTooLargeError
from lab.schemas.limits_config import LimitsConfig

log = structlog.get_logger("lab.api")

DOCUMENTS = "/v1/documents"
AUDIO = ("/v1/audio/transcriptions", "/v1/audio/translations")
"""Where files are sent, behind whatever prefix the proxy keeps."""
FORM_BYTES = 4096
"""What a form takes beside its file."""
QUIET = {"/", "/healthz", "/readyz", "/metrics"}


class RequestMiddleware:
    """
    Give a request its id, refuse a body that is too large, log and count it.

    Written for ASGI itself, so that streams pass through unbuffered.

    Parameters
    ----------
    app : ASGIApp
        What answers.
    metrics : Metrics
        Where it is counted.
    limits : LimitsConfig
        Largest body, largest document and largest file of sound.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, limits: LimitsConfig) -> None:
        self._app = app
        self._metrics = metrics
        self._body = _Limit("body", limits.max_body_bytes, "limits.max_body_bytes")
        self._document = _Limit(
            "document", limits.max_document_bytes, "limits.max_document_bytes", FORM_BYTES
        )
        self._audio = _Limit(
            "recording", limits.max_audio_bytes, "limits.max_audio_bytes", FORM_BYTES
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, send)
        limit = self._limit(scope)
        try:
            length = Headers(scope=scope).get("content-length", "0")
            if length.isdigit() and int(length) > limit.most:
                await self._too_large(limit, scope, receive, request.send)
                return
            await self._app(scope, self._limited(limit, receive), request.send)
        except _BodyTooLargeError:
            await self._too_large(limit, scope, receive, request.send)
        finally:
            self._note(request)

    def _limit(self, scope: Scope) -> "_Limit":
        """Return how large a body may be: more of a form with a file, which is not in memory."""
        kind = Headers(scope=scope).get("content-type", "")
        if not kind.lower().startswith("multipart/"):
            return self._body
        if scope["path"].endswith(DOCUMENTS):
            return self._document
        return self._audio if scope["path"].endswith(AUDIO) else self._body

    def _limited(self, limit: "_Limit", receive: Receive) -> Receive:
        """Count what arrives: a chunked body names no length."""
        left = limit.most

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _BodyTooLargeError(413, limit.complaint)
            return message

        return limited

    async def _too_large(self, limit: "_Limit", scope: Scope, receive: Receive, send: Send) -> None:
        answer = JSONResponse(error_body(limit.complaint, 413, limit.code), 413)
        await answer(scope, receive, send)

    def _note(self, request: "_Request") -> None:
        route = getattr(request.scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - request.started
        self._metrics.requests.labels(request.scope["method"], route, request.status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if route not in QUIET:
            log.info(
                "request",
                request_id=request.id,
                method=request.scope["method"],
                route=route,
                status=request.status,
                ms=round(seconds * 1000, 1),
            )


class _Limit:
    """How large one kind of body may be."""

    def __init__(self, what: str, most: int, setting: str, beside: int = 0) -> None:
        self.most = most + beside
        self.code = "body_too_large" if what == "body" else DocumentTooLargeError.code
        self.complaint = f"The {what} is larger than {most} bytes ({setting}); send less at once."


class _BodyTooLargeError(HTTPException):
    """The body went over the limit while it was read; FastAPI lets only its own kind through."""


class _Request:
    """One request under way."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope: dict[str, Any] = dict(scope) if not isinstance(scope, dict) else scope
        self.id = f"req-{token_hex(8)}"
        self.scope["request_id"] = self.id
        self.status = 0
        self.started = time.perf_counter()
        self._send = send

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["x-request-id"] = self.id
        await self._send(message)
