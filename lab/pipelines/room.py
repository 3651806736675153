"""What keys and values may take of a device, and what a device was learned to bear."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much one model does at once.

    Attributes
    ----------
    streams : int
        Answers that are generated at the same time.
    prefill_tokens : int
        Prompt tokens of one step.
    """

    streams: int
    prefill_tokens: int


@dataclass(frozen=True, slots=True)
class Room:
    """
    What the keys and values of a batch may take.

    Attributes
    ----------
    may_take : callable
        Takes bytes; returns whether they may come to that.
    wait_s : float
        Seconds after which an answer that finds no room, while no other runs, is given up.
    learn : callable
        Takes lower limits, which a device that ran out of memory bears.
    """

    may_take: Callable[[int], bool] = lambda _: True
    wait_s: float = 0
    learn: Callable[[Limits], None] = lambda _: None
