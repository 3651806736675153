"""How long to wait before a process is started again."""

from dataclasses import dataclass, field


@dataclass
class Backoff:
    """
    Waits that double while a process keeps failing, and start anew once it was stable.

    >>> backoff = Backoff()
    >>> [backoff.next_delay_s(lived_s=1.0) for _ in range(4)]
    [0.5, 1.0, 2.0, 4.0]
    >>> backoff.next_delay_s(lived_s=60.0)
    0.5
    """

    first_s: float = 0.5
    longest_s: float = 10.0
    stable_after_s: float = 30.0
    _failures: int = field(default=0, init=False)

    def next_delay_s(self, lived_s: float) -> float:
        """Return the wait after a process that lived so long."""
        self._failures = 0 if lived_s >= self.stable_after_s else self._failures
        delay = min(self.first_s * 2**self._failures, self.longest_s)
        self._failures += 1
        return delay
