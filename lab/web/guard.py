"""The guard: where on the web the lab goes for those who give it an address."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import httpx
import structlog

from lab.errors import BlockedAddressError, ConfigError, FetchError, cut
from lab.web.addresses import Address, Network, address_of, is_own, not_public, plain, spelled

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name, or raises `OSError`."""

PORTS: Final = {"http": 80, "https": 443}
"""The schemes that are fetched."""

LAST_SYSTEM_PORT: Final = 1023
"""Up to it ports belong to services that have other protocols, but for those of `PORTS`."""

UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")
UNSAFE_HOST: Final = re.compile(r"[\s\\%]")
"""In a host: what programs read in different ways, and zones of IPv6 addresses."""

SECRETS: Final = re.compile(r"(?<=//)[^/?#]*@|[?#].*", re.DOTALL)
ENTRY: Final = re.compile(r"(\[(?P<six>[^\]]+)\]|(?P<host>[^:/\[\]]+))(:(?P<port>\d{1,5}))?")

LOOKERS: Final = 8
"""Threads that look names up: a name that hangs keeps one for as long as the system waits."""

log = structlog.get_logger(__name__)


@cache
def _lookers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(LOOKERS, thread_name_prefix="resolve")


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the machine finds for a name."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_lookers(), look_up)
    return [str(address[0]) for *_, address in found]


@dataclass(frozen=True)
class Allowed:
    """What the operator lets through: a network, or a name; on one port or on all."""

    network: Network | None
    name: str | None
    port: int | None

    def lets(self, host: str, address: Address, port: int) -> bool:
        """Return whether an address, found for a host, is let through."""
        if self.port not in (None, port):
            return False
        return host == self.name if self.network is None else address in self.network


class Guard:
    """
    Says where the lab may go: to public addresses, and where its operator lets it.

    A name is public as long as every address is that it leads to. Connect to what `resolve`
    returned, and resolve again for each redirect: a name may lead elsewhere the next moment.

    Parameters
    ----------
    allowed : sequence of str
        What is let through though it is not public: hosts, `host:port` and networks.
    resolver : callable
        Finds the addresses of a name.

    Raises
    ------
    ConfigError
        If `allowed` holds what is neither.
    """

    def __init__(self, allowed: Sequence[str] = (), resolver: Resolver = system_resolver) -> None:
        self._allowed = [_allowed(text) for text in allowed]
        self._resolver = resolver

    def check_url(self, url: str) -> httpx.URL:
        """
        Return an address of the web, its host in one spelling and without its fragment.

        Where its host leads is for `resolve` to say.

        Raises
        ------
        FetchError
            If it is none that can be fetched: another scheme, with credentials, or wrong.
        """
        try:
            parts = urlsplit(url)
            if parts.scheme not in PORTS:
                raise _wrong(url, "give an address that begins with http:// or https://")
            host = spelled(_host(url, parts))
            if parts.port == 0:
                raise _wrong(url, "there is no port 0")
            place = f"[{host}]" if ":" in host else host
            netloc = place if parts.port is None else f"{place}:{parts.port}"
            return httpx.URL(urlunsplit((parts.scheme, netloc, parts.path, parts.query, "")))
        except FetchError:
            raise
        except (ValueError, httpx.InvalidURL) as error:
            raise _wrong(url, str(error)) from None

    async def resolve(self, host: str, port: int) -> list[str]:
        """
        Return the addresses of a host, each of which may be gone to.

        Raises
        ------
        BlockedAddressError
            If one of them may not, or there is none.
        FetchError
            If it is no host.
        """
        try:
            host = spelled(host)
        except ValueError as error:
            raise _wrong(host, str(error)) from None
        literal = address_of(host)
        found = [literal] if literal is not None else await self._look_up(host, port)
        for address in found:
            self._check(host, address, port)
        if not found:
            raise _closed(host, port)
        return [str(address) for address in found]

    async def _look_up(self, host: str, port: int) -> list[Address]:
        try:
            texts = await self._resolver(host, port)
        except (OSError, UnicodeError):
            raise _closed(host, port) from None
        return list(dict.fromkeys(plain(ip_address(text)) for text in texts))

    def _check(self, host: str, address: Address, port: int) -> None:
        if any(entry.lets(host, address, port) for entry in self._allowed):
            return
        if kind := not_public(address) or ("this machine" if is_own(address) else None):
            log.info("address blocked", host=host, address=str(address), kind=kind)
            raise _blocked(address, port, kind) if host == str(address) else _closed(host, port)
        if port <= LAST_SYSTEM_PORT and port not in PORTS.values():
            raise BlockedAddressError(
                f"`{host}:{port}`: port {port} is another service's, and this lab fetches from 80, "
                f"443 and those from {LAST_SYSTEM_PORT + 1} on; {_letting(host, port)}"
            )


def _host(url: str, parts: SplitResult) -> str:
    """Return the host of an address, if nobody can take another one for it."""
    if UNSAFE.search(url):
        raise _wrong(url, "it holds control characters")
    if "@" in parts.netloc:
        raise _wrong(url, "names and passwords are not sent; leave out what is before `@`")
    if not parts.hostname:
        raise _wrong(url, "it names no host")
    if UNSAFE_HOST.search(parts.netloc):
        raise _wrong(url, "its host holds a blank, `\\` or `%`")
    return parts.hostname


def _allowed(text: str) -> Allowed:
    try:
        return Allowed(ip_network(text), None, None)
    except ValueError:
        pass
    found = ENTRY.fullmatch(text)
    try:
        if found is None:
            raise ValueError("expected a host, `host:port` or a network such as `10.1.0.0/16`")
        host = spelled(found["six"] or found["host"])
    except ValueError as error:
        raise ConfigError(f"`web.allowed` holds {text!r}: {error}.") from None
    port = int(found["port"]) if found["port"] else None
    address = address_of(host)
    return Allowed(ip_network(address), None, port) if address else Allowed(None, host, port)


def shown(url: str) -> str:
    """
    Return an address as messages show it, without what may be secret.

    >>> shown("https://ann:secret@example.org/a.png?key=secret")
    'https://example.org/a.png'
    """
    return cut(SECRETS.sub("", url))


def _wrong(url: str, why: str) -> FetchError:
    return FetchError(f"`{shown(url)}` cannot be fetched: {why}.")


def _blocked(address: Address, port: int, kind: str) -> BlockedAddressError:
    return BlockedAddressError(
        f"`{address}` is no public address ({kind}), and this lab fetches from no other; "
        f"{_letting(str(address), port)}"
    )


def _closed(host: str, port: int) -> BlockedAddressError:
    """Return one error for what is not there and what is not public: names inside stay unknown."""
    return BlockedAddressError(
        f"`{host}` leads to no public address: there is no such name, or its network is closed to "
        f"what this lab fetches; {_letting(host, port)}"
    )


def _letting(host: str, port: int) -> str:
    place = f"[{host}]" if ":" in host else host
    return f"the operator may let `{place}:{port}` through (LAB_WEB_ALLOWED)."
