"""Every error in OpenAI's shape: message, type, param, code."""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lab.errors import LabError, RateLimitError, cut
from lab.schemas.error_response import ErrorResponse

log = structlog.get_logger(__name__)

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    409: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorResponse, "description": "What is wrong with the request."},
    "503": {"model": ErrorResponse, "description": "A part of the lab that does not answer."},
}
"""What every route may answer, for the OpenAPI document."""


def add_error_handlers(app: FastAPI) -> None:
    """Answer every failure in one shape."""
    app.add_exception_handler(LabError, _lab_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def error_body(
    message: str, status: int, code: str | None, param: str | None = None
) -> dict[str, Any]:
    """
    Return an error as OpenAI writes it.

    >>> error_body("No.", 404, "not_found")["error"]["type"]
    'invalid_request_error'
    """
    type_ = TYPES.get(status, "server_error")
    return {"error": {"message": message, "type": type_, "param": param, "code": code}}


async def _lab_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, LabError):
        raise error
    headers = {}
    if isinstance(error, RateLimitError):
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.status == 409:  # OpenAI's client asks twice more by itself
        headers["x-should-retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(str(error), error.status, error.code, headers=headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    problem = error.errors()[0]
    if problem["type"] == "json_invalid":
        return _answer(
            f"The body is not valid JSON: {problem['ctx']['error']}.", 400, "invalid_json"
        )
    place = ".".join(str(part) for part in problem["loc"][1:]) or "the body"
    shown = cut(repr(problem.get("input")))
    return _answer(f"`{place}`: {problem['msg']}; got {shown}.", 400, "invalid_value", place)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    message = str(error.detail)
    if error.status_code == 404:
        message = f"No route {request.url.path}; GET /docs lists what there is."
    elif error.status_code == 405:
        message = f"{request.url.path} does not take {request.method}."
    return _answer(message, error.status_code, None, headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer what nobody foresaw; the log of this request has the trace."""
    request_id = request.scope.get("request_id", "")
    log.error("request failed", request_id=request_id, exc_info=error)
    message = f"The lab failed to answer; give the operator this request id: {request_id}."
    return _answer(message, 500, "internal_error")


def _answer(
    message: str,
    status: int,
    code: str | None,
    param: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse(
        error_body(message, status, code, param), status, headers=dict(headers or {})
    )
