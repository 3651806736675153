"""
Ports for servers of tests.

They lie below those that the kernel gives to outgoing connections, so that none is taken between
the look and the start of its server, and each worker of a run has its own.
"""

import os
from collections.abc import Iterator
from itertools import cycle, islice
from random import SystemRandom
from socket import create_server

__all__ = ["free_port", "free_ports"]

FIRST, LAST = 10_000, 32_000


def free_ports(n: int) -> list[int]:
    """Return ports that nobody listens on and that this process was not given lately."""
    return list(islice(filter(_is_free, _ours), n))


def free_port() -> int:
    """Return one of them."""
    (port,) = free_ports(1)
    return port


def _is_free(port: int) -> bool:
    try:
        create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _of_this_worker() -> Iterator[int]:
    """Every port of this worker's; from anywhere, for other runs may be at work."""
    n_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(FIRST + worker, LAST, n_workers)
    start = SystemRandom().randrange(len(ports))
    return cycle([*ports[start:], *ports[:start]])


_ours = _of_this_worker()
