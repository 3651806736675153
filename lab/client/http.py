"""How the client speaks to the API: requests, streams, and errors as the lab raised them."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO, Any, TypeVar

import httpx
from pydantic import BaseModel, TypeAdapter, ValidationError

from lab.client.address import Address
from lab.errors import InputError, LabError, RateLimitError, ServiceError, rebuild
from lab.schemas.event import Event

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

# An answer may wait in the queue and take long; a connection that opens does so at once.
TIMEOUT = httpx.Timeout(None, connect=10)

Body = BaseModel | Mapping[str, Any] | None
Files = Mapping[str, tuple[str, IO[bytes]]]


class Http:
    """
    The API behind typed calls.

    Parameters
    ----------
    address : Future of Address
        Known at once for a lab that runs, later for one that starts.
    """

    def __init__(self, address: "Future[Address]") -> None:
        self.address = address
        # The proxies of the environment lead away from this machine.
        self._client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)

    async def fetch(
        self, method: str, path: str, kind: type[T], body: Body = None, **query: Any
    ) -> T:
        """
        Return what the API answers.

        Raises
        ------
        LabError
            The error that the API raised.
        ServiceError
            If nobody answers, or not the lab's API.
        """
        async with self._answer(method, path, body, query) as response:
            return TypeAdapter(kind).validate_json(await response.aread())

    async def upload(self, path: str, kind: type[T], name: str, file: IO[bytes]) -> T:
        """Send a file, read as it is sent, and return what the API answers."""
        async with self._answer("POST", path, files={"file": (name, file)}) as response:
            return TypeAdapter(kind).validate_json(await response.aread())

    async def delete(self, path: str, **query: Any) -> None:
        """Delete a resource."""
        async with self._answer("DELETE", path, query=query):
            pass

    async def made(self, path: str, body: BaseModel) -> bytes:
        """Return the file that the API makes of a request."""
        async with self._answer("POST", path, body) as response:
            return await response.aread()

    async def download(self, path: str, **query: Any) -> bytes:
        """Return a file."""
        async with self._answer("GET", path, query=query) as response:
            return await response.aread()

    def events(self, path: str, body: BaseModel) -> AsyncGenerator[Event, None]:
        """Yield the events of a turn as they happen; closing the generator stops to listen."""
        return self.stream(path, Event, body)

    async def stream(
        self,
        path: str,
        kind: type[ModelT],
        body: Body = None,
        *,
        method: str = "POST",
        form: Mapping[str, Any] | None = None,
        files: Files | None = None,
        **query: Any,
    ) -> AsyncGenerator[ModelT, None]:
        """
        Yield what a stream sends, one by one; closing the generator stops it.

        Raises
        ------
        LabError
            The error that ends the stream.
        """
        async with self._answer(method, path, body, query, form=form, files=files) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    sent = line.removeprefix("data: ")
                    if sent.startswith('{"error":'):
                        raise _error(response, sent.encode())
                    yield kind.model_validate_json(sent)

    @asynccontextmanager
    async def held(self, path: str, kind: type[ModelT], body: BaseModel) -> AsyncIterator[ModelT]:
        """Yield what the API answers first; it holds until the block ends."""
        async with AsyncExitStack() as stack:
            response = await stack.enter_async_context(self._answer("POST", path, body))
            lines = (one async for one in response.aiter_lines() if one.startswith("data: "))
            line = await anext(lines, None)
            if line is None:
                raise ServiceError("The lab ended before it answered; ask again when it is up.")
            found = kind.model_validate_json(line.removeprefix("data: "))
            closing = stack.pop_all()
        try:
            yield found
        finally:  # apart from what fails in the block, which is not the API's
            await closing.aclose()

    async def is_here(self) -> bool:
        """Return whether the API runs on this machine."""
        address = await asyncio.wrap_future(self.address)
        return httpx.URL(address.url).host in {"127.0.0.1", "::1", "localhost"}

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: Body = None,
        query: Mapping[str, Any] | None = None,
        *,
        form: Mapping[str, Any] | None = None,
        files: Files | None = None,
    ) -> AsyncIterator[httpx.Response]:
        if self._client.is_closed:
            raise ServiceError("This client is closed; `lab.connect()` makes another.")
        address = await asyncio.wrap_future(self.address)
        if isinstance(body, BaseModel):
            body = body.model_dump(mode="json", exclude_unset=True)
        try:
            async with self._client.stream(
                method,
                address.url + path,
                json=body,
                data=form,
                files=files,
                params={key: str(v) for key, v in (query or {}).items() if v is not None},
                headers={"Authorization": f"Bearer {address.token}"},
            ) as response:
                if response.is_error:
                    raise _error(response, await response.aread())
                yield response
        except httpx.InvalidURL as error:
            raise InputError(
                f"That cannot be asked for, its address is none ({error}); give less text."
            ) from error
        except httpx.TransportError as error:
            raise ServiceError(
                f"The lab at {address.url} does not answer "
                f"({str(error) or type(error).__name__}); is it running (`lab status`)?"
            ) from error
        except ValidationError:
            raise _stranger(response) from None


def _error(response: httpx.Response, content: bytes) -> LabError:
    """Return the error that an answer reports, as the class that the API raised."""
    try:
        reported = json.loads(content)["error"]
        error = rebuild(reported["code"], reported["message"])
    except (ValueError, KeyError, TypeError):
        return _stranger(response)
    if type(error) is LabError and response.status_code < 500:
        return InputError(str(error))
    if isinstance(error, RateLimitError):
        error.retry_after_s = float(response.headers.get("Retry-After", 1))
    return error


def _stranger(response: httpx.Response) -> ServiceError:
    return ServiceError(
        f"{response.request.url} answered {response.status_code}, and not as the lab's API does; "
        "see what LAB_API_URL names."
    )
