"""What is at an address of the web, fetched within limits."""

import asyncio
import ssl
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.metadata import version
from typing import Final
from urllib.parse import urljoin

import httpx

from lab.errors import DocumentTooLargeError, FetchError, MediaTypeError
from lab.schemas.web_config import WebConfig
from lab.web.guard import PORTS, Guard, shown

CONNECT_S: Final = 5.0
"""Seconds for one address of a name; a further one is tried then."""

GZIP: Final = 16 + zlib.MAX_WBITS
UNKNOWN_TYPE: Final = "application/octet-stream"
HEADERS: Final = {
    "User-Agent": f"llm-ml-lab/{version('llm-ml-lab')}",
    "Accept-Encoding": "gzip",  # what can be unpacked in bounds
}


@dataclass(frozen=True)
class Fetched:
    """
    What was at an address.

    Attributes
    ----------
    url : str
        Where it was in the end, after redirects.
    content_type : str
        The header, as the server sent it; empty where it sent none.
    content : bytes
        The body, unpacked.
    """

    url: str
    content_type: str
    content: bytes


class GuardedTransport(httpx.AsyncBaseTransport):
    """
    Goes to the checked address of a host, under the host's own name.

    Each request resolves and connects anew: no connection to an address is used for another name
    there.

    Parameters
    ----------
    guard : Guard
        Says where it may go.
    verify : SSLContext
        Whom it trusts.
    """

    def __init__(self, guard: Guard, verify: ssl.SSLContext) -> None:
        self._guard = guard
        self._inner = httpx.AsyncHTTPTransport(
            verify=verify, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the first address of its host that answers."""
        url = self._guard.check_url(str(request.url))
        host = url.raw_host.decode()
        addresses = await self._guard.resolve(host, url.port or PORTS[url.scheme])
        for address in addresses[:-1]:
            try:
                return await self._send(request, url, address)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._send(request, url, addresses[-1])

    async def _send(self, request: httpx.Request, url: httpx.URL, address: str) -> httpx.Response:
        headers = request.headers.copy()
        headers["Host"] = url.netloc.decode()
        extensions = dict(request.extensions)
        if (host := url.raw_host.decode()) != address:
            extensions["sni_hostname"] = host  # the name that the certificate must have
        return await self._inner.handle_async_request(
            httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=headers,
                stream=request.stream,
                extensions=extensions,
            )
        )

    async def aclose(self) -> None:
        """Close what is open."""
        await self._inner.aclose()


def guarded_client(guard: Guard, verify: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """
    Return a client that goes where the guard lets it; it follows no redirects by itself.

    It takes no proxy from the environment, and keeps cookies: give each person's work its own.

    Parameters
    ----------
    guard : Guard
        Says where it may go.
    verify : SSLContext, optional
        Whom it trusts; by default the public certificate authorities.
    """
    return httpx.AsyncClient(
        transport=GuardedTransport(guard, verify or _public_authorities()),
        trust_env=False,
        headers=HEADERS,
        timeout=httpx.Timeout(None, connect=CONNECT_S),
    )


class Fetcher:
    """
    Fetches what is at addresses of the web.

    Parameters
    ----------
    config : WebConfig
        The limits, and what is let through.
    guard : Guard, optional
        Says where it may go; by default one with the machine's own names.
    """

    def __init__(self, config: WebConfig, guard: Guard | None = None) -> None:
        self._config = config
        self._guard = guard or Guard(config.allowed)

    async def fetch(self, url: str, kinds: Sequence[str], max_bytes: int | None = None) -> Fetched:
        """
        Return what is at an address.

        Parameters
        ----------
        url : str
            The address.
        kinds : sequence of str
            Media types that are taken, `image/*` for all of a kind; what has none is taken for
            `application/octet-stream`.
        max_bytes : int, optional
            Bytes of the largest file, where fewer than the setting's.

        Raises
        ------
        BlockedAddressError
            If the guard does not let it go there, or where a redirect leads.
        DocumentTooLargeError
            If it is larger than that.
        MediaTypeError
            If it is of another kind.
        FetchError
            If it does not come, or not in time.
        """
        most = min(n for n in (max_bytes, self._config.max_bytes) if n is not None)
        seconds = self._config.timeout_s
        try:
            async with asyncio.timeout(seconds), guarded_client(self._guard) as client:
                return await self._follow(client, url, kinds, most)
        except TimeoutError:
            raise FetchError(
                f"`{shown(url)}` did not come within {seconds:g} seconds (LAB_WEB_TIMEOUT_S)."
            ) from None
        except httpx.HTTPError as error:
            raise FetchError(
                f"`{shown(url)}` could not be fetched: {error or type(error).__name__}."
            ) from error

    async def _follow(
        self, client: httpx.AsyncClient, url: str, kinds: Sequence[str], most: int
    ) -> Fetched:
        """Go from redirect to redirect, as far as that is let."""
        here = str(self._guard.check_url(url))
        for _ in range(self._config.max_redirects + 1):
            async with client.stream("GET", here) as response:
                if not response.has_redirect_location:
                    return await _taken(response, here, kinds, most)
                there = urljoin(here, response.headers["Location"])
            here = str(self._guard.check_url(there))
        raise FetchError(
            f"`{shown(url)}` leads on and on: more than {self._config.max_redirects} redirects "
            "(LAB_WEB_MAX_REDIRECTS)."
        )


async def _taken(response: httpx.Response, url: str, kinds: Sequence[str], most: int) -> Fetched:
    """Return a body that is of one of the kinds, and no larger than that."""
    if not response.is_success:
        raise FetchError(f"`{shown(url)}` answered {response.status_code}, not with a file.")
    sent = response.headers.get("Content-Type", "")
    kind = sent.partition(";")[0].strip().lower() or UNKNOWN_TYPE
    if not any(fnmatchcase(kind, wanted) for wanted in kinds):
        raise MediaTypeError(
            f"`{shown(url)}` is of type `{kind[:80]}`; expected {' or '.join(kinds)}."
        )
    too_large = DocumentTooLargeError(
        f"`{shown(url)}` has more than {most:,} bytes, the most that is fetched."
    )
    if int(response.headers.get("Content-Length", 0)) > most:
        raise too_large
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > most:
            raise too_large
    content = await _unpacked(response, url, bytes(body), most)
    if len(content) > most:
        raise too_large
    return Fetched(url, sent, content)


async def _unpacked(response: httpx.Response, url: str, body: bytes, most: int) -> bytes:
    """Return a body unpacked, as far as one byte beyond what is taken."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise FetchError(
            f"`{shown(url)}` came packed as `{encoding[:40]}`; expected gzip, or not packed."
        )
    unpacker = zlib.decompressobj(GZIP)
    try:
        content = await asyncio.to_thread(unpacker.decompress, body, most + 1)
    except zlib.error as error:
        raise FetchError(f"`{shown(url)}` came broken: {error}.") from error
    if len(content) <= most and not unpacker.eof:
        raise FetchError(f"`{shown(url)}` came broken: its packed body ends too early.")
    return content


@lru_cache(maxsize=1)
def _public_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)
