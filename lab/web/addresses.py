"""Hosts and addresses: what a host spells, and whether an address is public."""

import re
import socket
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

import idna
import psutil

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NUMBER: Final = re.compile(r"\d+|0x[\da-f]*")
"""The last label of an IPv4 address in any spelling; no name ends so."""

LABEL: Final = re.compile(r"[a-z\d_]([a-z\d_-]{0,61}[a-z\d_])?")
MAX_HOST: Final = 253

NAT64: Final = IPv6Network("64:ff9b::/96")
"""Ends in an IPv4 address that a gateway goes to."""

ISATAP: Final = 0x5EFE
"""Before the IPv4 address that an address ends in, in its bits 32 to 63; bit 57 is free."""

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""Outside of it no IPv6 address is public."""

# Own tables, from IANA's registries of special addresses: those of `ipaddress` differ with the
# release of Python, hold multicast for global, and know of no 6to4.
SPECIAL: Final[dict[Network, str]] = {
    ip_network(network): kind
    for network, kind in {
        "0.0.0.0/8": "unspecified",
        "10.0.0.0/8": "private",
        "100.64.0.0/10": "shared (a carrier's)",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "cloud service",  # Azure's, inside each of its machines
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "private",
        "192.0.0.0/24": "reserved",
        "192.0.2.0/24": "documentation",
        "192.88.99.0/24": "6to4 relay",
        "192.168.0.0/16": "private",
        "198.18.0.0/15": "benchmarking",
        "198.51.100.0/24": "documentation",
        "203.0.113.0/24": "documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
        "::/128": "unspecified",
        "::1/128": "loopback",
        "2001::/23": "reserved",  # with Teredo, which holds an IPv4 address
        "2001:db8::/32": "documentation",
        "2002::/16": "6to4",  # holds an IPv4 address
        "3fff::/20": "documentation",
        "fc00::/7": "private",
        "fe80::/10": "link-local",
        "fec0::/10": "private",
        "ff00::/8": "multicast",
    }.items()
}


def spelled(host: str) -> str:
    """
    Return a host in its one spelling: an address, or a name in lower case and ASCII.

    Addresses are read as browsers and libc read them.

    >>> [spelled(host) for host in ("0x7f.1", "2130706433", "::FFFF:127.0.0.1", "Bücher.example.")]
    ['127.0.0.1', '127.0.0.1', '127.0.0.1', 'xn--bcher-kva.example']

    Raises
    ------
    ValueError
        For what is no host.
    """
    if ":" in host:
        return str(plain(IPv6Address(host.removeprefix("[").removesuffix("]"))))
    name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode()
    name = name.removesuffix(".")
    labels = name.split(".")
    if NUMBER.fullmatch(labels[-1]):
        return _ipv4(name)
    if len(name) > MAX_HOST or not all(map(LABEL.fullmatch, labels)):
        raise ValueError("letters, digits, `-` and `.` make a name")
    if any(label.startswith("xn--") for label in labels):
        idna.decode(name)
    return name


def address_of(host: str) -> Address | None:
    """Return the address that a host in its one spelling is; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address is only another form of, else the address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def not_public(address: Address) -> str | None:
    """
    Return what kind of address it is, where it is not a public one.

    >>> not_public(ip_address("169.254.169.254")), not_public(ip_address("1.1.1.1"))
    ('link-local', None)
    """
    address = plain(address)
    kinds = (kind for network, kind in SPECIAL.items() if address in network)
    if found := next(kinds, None):
        return found
    if isinstance(address, IPv4Address):
        return None
    if address.scope_id is not None:
        return "link-local"
    if (inside := _inside(address)) is not None:
        return not_public(inside)
    return None if address in GLOBAL_UNICAST else "reserved"


def is_own(address: Address) -> bool:
    """Return whether an address is one of this machine's, whose services are not for the web."""
    places = (place for places in psutil.net_if_addrs().values() for place in places)
    return any(place.address.partition("%")[0] == str(address) for place in places)


def _ipv4(name: str) -> str:
    try:
        return str(IPv4Address(socket.inet_aton(name)))
    except OSError:
        raise ValueError("it ends in a number and is no IPv4 address") from None


def _inside(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to an IPv6 address may end at."""
    number = int(address)
    if address in NAT64 or (number >> 32) & 0xFDFFFFFF == ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    return None
