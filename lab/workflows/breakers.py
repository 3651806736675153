"""
Circuit breakers: what keeps failing is not asked for a while.

A breaker is closed, and everybody is let in; after some failures in a row it is open, and nobody
is; after a time one is let in to try (half open), whose outcome closes or opens it again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal
from uuid import UUID

from lab.errors import BreakerOpenError, LabError, NoRoomError
from lab.schemas.breaker_config import BreakerConfig

Kind = Literal["model", "tool"]
State = Literal["closed", "open", "half_open"]
OWN: Final = "own"
"""How everything that is some user's own is named to others."""
OUR_FAULT: Final = 500
"""Errors of this HTTP status and above are failures; below, what was asked for was wrong."""


class Breaker:
    """
    The breaker of one model or tool.

    Parameters
    ----------
    kind, name : str
        Whose it is.
    config : BreakerConfig
        When it opens, and for how long.
    clock : callable
        Returns seconds that only rise.
    is_own : bool
        Whether it is of something that is one user's, whose name others shall not see.
    """

    def __init__(
        self,
        kind: Kind,
        name: str,
        config: BreakerConfig,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_own: bool = False,
    ) -> None:
        self.kind = kind
        self.name = name
        self.shown = OWN if is_own else name
        self.n_opened = 0
        self._config = config
        self._clock = clock
        self._n_failures = 0
        self._opened_at: float | None = None
        self._tried = False  # somebody is in, to try

    @property
    def state(self) -> State:
        """Whether it lets anybody in."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._waits_s() <= 0 else "open"

    @property
    def refuses(self) -> bool:
        """Whether who came now would be refused."""
        return self.state == "open" or (self.state == "half_open" and self._tried)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """
        Be let in for the block; who tries and neither succeeds nor fails leaves it to the next.

        Raises
        ------
        BreakerOpenError
            If nobody is let in.
        """
        if self.refuses:
            raise BreakerOpenError(self.kind, self.name, max(1.0, self._waits_s()))
        tries = self.state == "half_open"
        self._tried = self._tried or tries
        try:
            yield
        finally:
            if tries:
                self._tried = False

    @contextmanager
    def counting(self, *, is_whole: bool = True) -> Iterator[None]:
        """
        Count how the block ends; one that is cancelled, or wrongly asked, does not count.

        Parameters
        ----------
        is_whole : bool
            False where more is to come, so that an end without an error is no success yet.
        """
        try:
            yield
        except Exception as error:
            if is_failure(error):
                self._fail()
            raise
        if is_whole:
            self.succeed()

    def succeed(self) -> None:
        """Let everybody in: it works."""
        self._n_failures, self._opened_at = 0, None

    def _fail(self) -> None:
        self._n_failures += 1
        enough = 0 < self._config.failures <= self._n_failures
        if enough and self.state != "open":
            self._opened_at = self._clock()
            self.n_opened += 1

    def _waits_s(self) -> float:
        if self._opened_at is None:
            return 0.0
        return self._opened_at + self._config.reset_s - self._clock()


class Breakers:
    """
    The breakers of this process, made when they are first asked for.

    Parameters
    ----------
    config : BreakerConfig
        When they open, and for how long.

    Attributes
    ----------
    clock : callable
        Returns seconds that only rise.
    """

    def __init__(self, config: BreakerConfig) -> None:
        self.clock: Callable[[], float] = time.monotonic
        self._config = config
        self._breakers: dict[tuple[Kind, str, UUID | None], Breaker] = {}

    def of(self, kind: Kind, name: str, owner_id: UUID | None = None) -> Breaker:
        """Return the breaker of a model or tool, or of a tool that is an owner's own."""
        key = (kind, name, owner_id)
        if key not in self._breakers:
            is_own = owner_id is not None
            self._breakers[key] = Breaker(
                kind, name, self._config, lambda: self.clock(), is_own=is_own
            )
        return self._breakers[key]

    def __iter__(self) -> Iterator[Breaker]:
        return iter(list(self._breakers.values()))


def is_failure(error: Exception) -> bool:
    """
    Return whether an error says that a model or tool does not work.

    What was wrong with a request does not, nor that another model has the memory.

    >>> is_failure(ZeroDivisionError()), is_failure(LabError()), is_failure(NoRoomError())
    (True, True, False)
    """
    if isinstance(error, LabError):
        return error.status >= OUR_FAULT and not isinstance(error, NoRoomError)
    return True
