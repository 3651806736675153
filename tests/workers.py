"""
Ctrl-C when tests run in several workers.

Each worker is in a process group of its own, so that Ctrl-C reaches the main process alone. That
interrupts the workers as a terminal would, once, and gives them the time to stop what their tests
have started.
"""

import os
import signal
from contextlib import suppress
from typing import Any

import execnet
import pytest

__all__ = ["pytest_configure", "pytest_configure_node", "pytest_keyboard_interrupt"]

STOPS_WITHIN_S = 120
"""Seconds that a worker has for the ends of its fixtures."""

_workers: list[Any] = []


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        os.setpgid(0, 0)
        # Asyncio's own answer to Ctrl-C cancels the test, which may end of something else first.
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(*_: object) -> None:
    """Interrupt once: what follows is the end of what was started, which is let be."""
    signal.signal(signal.SIGINT, lambda *_: None)
    raise KeyboardInterrupt


def pytest_configure_node(node: Any) -> None:
    """Keep the controller of a worker (see pytest-xdist)."""
    _workers.append(node)


def pytest_keyboard_interrupt() -> None:
    for worker in _workers:
        with suppress(ProcessLookupError):
            os.killpg(worker.gateway._rinfo().pid, signal.SIGINT)
    for worker in _workers:
        with suppress(EOFError, OSError, execnet.RemoteError):
            worker.channel.waitclose(STOPS_WITHIN_S)
