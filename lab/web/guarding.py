"""The guard inside Scrapy: each request is checked, and connects to what was checked."""

from collections.abc import Sequence
from typing import Any, Final, Self

from scrapy import Request
from scrapy.crawler import Crawler
from scrapy.exceptions import IgnoreRequest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer

from lab.errors import FetchError
from lab.web.addresses import spelled
from lab.web.guard import PORTS, Guard

GUARD: Final = "LAB_GUARD"
"""Scrapy's setting for what returns the `Checked` of a crawl: Scrapy copies all but functions."""


class RefusedError(IgnoreRequest):
    """A request to where the lab does not go; `error` says why."""

    def __init__(self, error: FetchError) -> None:
        super().__init__(str(error))
        self.error = error


class Checked:
    """
    The guard, and the addresses that it let through: no connection is made to any other.

    Parameters
    ----------
    guard : Guard
        Says where the lab may go.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._addresses: dict[tuple[str, int], Sequence[str]] = {}

    async def check(self, url: str) -> None:
        """Let an address through, or raise `FetchError`."""
        checked = self._guard.check_url(url)
        port = checked.port or PORTS[checked.scheme]
        # Kept under the host that the guard took it for; `of` looks there by the same spelling.
        place = (spelled(checked.host), port)
        try:
            self._addresses[place] = await self._guard.resolve(*place)
        except FetchError:
            self._addresses.pop(place, None)
            raise

    def of(self, host: str, port: int) -> Sequence[str]:
        """Return what was let through of a host: none where it was not asked about."""
        try:
            return self._addresses.get((spelled(host), port), ())
        except ValueError:
            return ()


class GuardMiddleware:
    """Checks every request before it is sent: first ones, links, redirects, robots.txt."""

    def __init__(self, checked: Checked) -> None:
        self._checked = checked

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> Self:
        """Return one with the guard of the crawl."""
        return cls(crawler.settings[GUARD]())

    async def process_request(self, request: Request) -> None:
        """Let a request pass, or end it."""
        try:
            await self._checked.check(request.url)
        except FetchError as error:
            raise RefusedError(error) from error


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Do nothing: it is over when it begins."""


@implementer(IHostnameResolver)
class CheckedResolver:
    """Hands out the addresses that the guard let through, and never asks anybody for others."""

    def __init__(self, reactor: Any, checked: Checked) -> None:
        self._reactor = reactor
        self._checked = checked

    @classmethod
    def from_crawler(cls, crawler: Crawler, reactor: Any) -> Self:
        """Return one with the guard of the crawl."""
        return cls(reactor, crawler.settings[GUARD]())

    def install_on_reactor(self) -> None:
        """Let every connection to a host ask here."""
        self._reactor.installNameResolver(self)

    def resolveHostName(
        self,
        resolutionReceiver: Any,  # zope's interfaces have no types
        hostName: str,
        portNumber: int = 0,
        addressTypes: Any = None,
        transportSemantics: str = "TCP",
    ) -> _Resolution:
        """Tell the receiver the addresses of a host."""
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for address in self._checked.of(hostName, portNumber):
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution
