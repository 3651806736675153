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
        Takes bytes, and whether others are to make room for them; returns whether they may come to
        that.
    could_take : callable
        Takes bytes; returns whether they could come to that, were everybody else gone.
    token_bytes : int
        What was foretold of one token of one answer.
    wait_s : float
        Seconds after which an answer that finds no room, while no other runs, is given up.
    learn : callable
        Takes lower limits, which a device that ran out of memory bears.
    """

    may_take: Callable[[int, bool], bool] = lambda *_: True
    could_take: Callable[[int], bool] = lambda _: True
    token_bytes: int = 0
    wait_s: float = 0
    learn: Callable[[Limits], None] = lambda _: None
