"""
The way to one server: its key, timeouts, and requests that are sent again.

A request is sent again only while nothing of its answer came: when the server cannot be reached,
hangs up, or says that it is busy or away. What was delivered once is never asked for twice.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import httpx
import structlog
from httpx_sse import EventSource, SSEError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt
from tenacity.wait import wait_random_exponential

from lab.errors import ConfigError, LabError, RemoteError, cut
from lab.pipelines.remote.failures import (
    AGAIN,
    IN_SETTINGS,
    MOST_SAID,
    Advice,
    Said,
    body_of,
    broken_off,
    refusal,
    said_of,
    unreachable,
)
from lab.schemas.remote_endpoint import RemoteEndpoint

LONGEST_WAIT_S: Final = 30.0
"""A server that wants to be left alone for longer is not asked again."""

LOOK_TIMEOUT_S: Final = 10.0
"""Seconds for what a server says of itself."""

END: Final = "[DONE]"

log = structlog.get_logger(__name__)


class _AgainError(Exception):
    """A request that may be sent again; `error` is what it is if not."""

    def __init__(self, error: LabError, retry_after_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_s = retry_after_s


class RemoteClient:
    """
    Requests to an endpoint; belongs to one event loop.

    Parameters
    ----------
    endpoint : RemoteEndpoint
        Where it is, and what it wants.
    keep_alive : bool
        Whether connections are kept for later requests.
    advice : Advice
        What errors say can be done about the server: where it is set, or that the lab runs it.
    """

    def __init__(
        self, endpoint: RemoteEndpoint, *, keep_alive: bool = True, advice: Advice = IN_SETTINGS
    ) -> None:
        self.endpoint = endpoint
        self.advice = advice
        self.url = endpoint.url.rstrip("/")
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(
                endpoint.timeout_s, connect=endpoint.connect_timeout_s, pool=None
            ),
            limits=httpx.Limits(
                max_connections=None, max_keepalive_connections=20 if keep_alive else 0
            ),
            # A proxy of the environment is for what is elsewhere.
            trust_env=not is_here(httpx.URL(self.url).host),
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def look(self, path: str) -> Any:
        """
        Return what the server says of itself in JSON.

        Parameters
        ----------
        path : str
            Where, after its address; with a leading slash, after its root.

        Raises
        ------
        RemoteError
            If it does not.
        """
        url = str(httpx.URL(self.url).join(path)) if path.startswith("/") else f"{self.url}/{path}"
        try:
            response = await self._http.get(url, headers=self._headers(), timeout=LOOK_TIMEOUT_S)
        except httpx.TransportError as error:
            raise self._unreachable(error, LOOK_TIMEOUT_S) from error
        if response.status_code != 200:
            raise self._refused(response, response.text, model="")
        try:
            return response.json()
        except ValueError:
            raise RemoteError(
                f"The server `{self.endpoint.name}` answered at {url} with what is no JSON; "
                f"{self.advice.url}."
            ) from None

    async def chunks(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """
        Yield the pieces of a streamed chat completion; closing the iterator hangs up at once.

        Raises
        ------
        LabError
            If the server refuses, cannot be reached, or breaks off.
        """
        async with self._answer(body) as response:
            try:
                async for event in EventSource(response).aiter_sse():
                    data = event.data.strip()
                    if data == END:
                        return
                    if data:  # else a sign of life
                        yield self._chunk(data, body["model"])
            except SSEError as error:
                raise await self._no_stream(response) from error
            except httpx.TransportError as error:
                raise broken_off(
                    error, server=self.endpoint.name, waited_s=self.endpoint.timeout_s
                ) from error

    @asynccontextmanager
    async def _answer(self, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """Send a request, again where it may help, until its answer begins."""
        attempts = AsyncRetrying(
            stop=stop_after_attempt(self.endpoint.retries + 1),
            wait=_wait,
            retry=retry_if_exception_type(_AgainError),
            before_sleep=self._note,
            reraise=True,
        )
        try:
            response: httpx.Response = await attempts(self._sent, body)
        except _AgainError as again:
            raise again.error from again.__cause__
        try:
            yield response
        finally:
            await response.aclose()

    async def _sent(self, body: Mapping[str, Any]) -> httpx.Response:
        request = self._http.build_request(
            "POST",
            f"{self.url}/chat/completions",
            content=json.dumps(body),
            headers={
                **self._headers(),
                "Content-Type": "application/json",
                "Accept": "text/event-stream",
            },
        )
        try:
            response = await self._http.send(request, stream=True)
        except httpx.ReadTimeout as error:  # it may be at work on it
            raise self._unreachable(error, self.endpoint.timeout_s) from error
        except httpx.TransportError as error:
            raise _AgainError(self._unreachable(error, self.endpoint.timeout_s)) from error
        if response.status_code == 200:
            return response
        try:
            text = (await response.aread()).decode("utf-8", "replace")
        except httpx.TransportError:
            text = ""
        finally:
            await response.aclose()
        refused = self._refused(response, text, model=body["model"])
        wait_s = _retry_after_s(response)
        if response.status_code in AGAIN and (wait_s or 0) <= LONGEST_WAIT_S:
            raise _AgainError(refused, wait_s)
        raise refused

    def _chunk(self, data: str, model: str) -> dict[str, Any]:
        """Return a piece of an answer; raise what it says where that is an error."""
        chunk = body_of(data)
        if isinstance(chunk, dict) and not chunk.get("error"):
            return chunk
        said = said_of(chunk) if isinstance(chunk, dict) else Said(data, "", {})
        told = self._without_key(said)
        name = self.endpoint.name
        raise refusal(0, told, server=name, model=model, advice=self.advice)

    async def _no_stream(self, response: httpx.Response) -> LabError:
        """Return the error of an answer that is no stream of events."""
        try:
            text = (await response.aread()).decode("utf-8", "replace")
        except httpx.TransportError:
            text = ""
        kind = response.headers.get("content-type", "no type")
        said = cut(self._masked(" ".join(text.split())), MOST_SAID)
        return RemoteError(
            f"The server `{self.endpoint.name}` answered with {kind} where a stream of events "
            f"(text/event-stream) was expected: {said or 'nothing'}; {self.advice.url}."
        )

    def _refused(self, response: httpx.Response, text: str, *, model: str) -> LabError:
        return refusal(
            response.status_code,
            self._without_key(said_of(body_of(text))),
            server=self.endpoint.name,
            model=model,
            retry_after_s=_retry_after_s(response) or 1.0,
            advice=self.advice,
        )

    def _unreachable(self, error: httpx.TransportError, waited_s: float) -> LabError:
        name, advice = self.endpoint.name, self.advice
        return unreachable(error, server=name, url=self.url, waited_s=waited_s, advice=advice)

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning(
            "a request to another server is sent again",
            server=self.endpoint.name,
            attempt=state.attempt_number,
            error=str(error),
        )

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _key(self) -> str:
        """Return the key as it is now, or nothing."""
        endpoint = self.endpoint
        if endpoint.key_file is None:
            return _header_text(endpoint, endpoint.key.get_secret_value() if endpoint.key else "")
        try:
            return _header_text(endpoint, Path(endpoint.key_file).read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The key of the server `{endpoint.name}` cannot be read from "
                f"`{endpoint.key_file}`: {getattr(error, 'strerror', None) or 'it is no text'}."
            ) from None

    def _without_key(self, said: Said) -> Said:
        return said._replace(message=self._masked(said.message))

    def _masked(self, text: str) -> str:
        key = self._key()
        return text.replace(key, "**********") if key else text


def is_here(host: str) -> bool:
    """
    Return whether an address is of this machine.

    >>> is_here("localhost"), is_here("127.0.0.1"), is_here("api.openai.com")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _header_text(endpoint: RemoteEndpoint, key: str) -> str:
    """Return a key that may stand in a header."""
    if not (key.isascii() and key.isprintable()):
        raise ConfigError(
            f"The key of the server `{endpoint.name}` has characters that no header can hold; "
            "it must be one line of ASCII."
        )
    return key


def _wait(state: RetryCallState) -> float:
    """Return the seconds until the next attempt: what the server asks for, or ever more."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _AgainError) and error.retry_after_s is not None:
        return error.retry_after_s
    return wait_random_exponential(multiplier=0.5, max=8)(state)


def _retry_after_s(response: httpx.Response) -> float | None:
    """Return the seconds that a server asks to wait, given as such or as a date."""
    value = response.headers.get("retry-after", "")
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
