"""
A thread on which a model does one thing at a time, told step by step and stopped between steps.

Imports no torch.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, TypeVar

from lab.errors import RateLimitError, UnavailableError

StepT = TypeVar("StepT")


class StoppedError(Exception):
    """Nobody waits for it any more, or the model leaves."""


class Turn(Generic[StepT]):
    """
    One thing that is done; belongs to the loop that asked for it.

    Parameters
    ----------
    closing : Event
        Set when the model leaves.
    """

    def __init__(self, closing: threading.Event) -> None:
        self.steps: asyncio.Queue[StepT | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._closing = closing
        self._stop = threading.Event()

    def say(self, step: StepT | None) -> None:
        """Tell of a step; None = there are no more. On any thread."""
        with suppress(RuntimeError):  # the loop is closed: so is the lab
            self._loop.call_soon_threadsafe(self.steps.put_nowait, step)

    def go_on(self) -> None:
        """Raise `StoppedError` where it is to stop."""
        if self._stop.is_set() or self._closing.is_set():
            raise StoppedError

    def stop(self) -> None:
        """Have it stop at its next step."""
        self._stop.set()


class Turns:
    """
    What a model does, one after the other.

    Parameters
    ----------
    name : str
        The model's.
    what : str
        What it does, in the plural.
    max_queue : int
        How many may wait.
    setting : str
        Which sets that.
    """

    def __init__(self, name: str, what: str, *, max_queue: int, setting: str) -> None:
        self._name = name
        self._what = what
        self._max_queue = max_queue
        self._setting = setting
        self._closing = threading.Event()
        self._asked: set[Future[None]] = set()  # the one under way, and those that wait
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=what)

    async def take(self, work: Callable[[Turn[StepT]], Any]) -> AsyncGenerator[StepT, None]:
        """
        Yield what the work says, which runs on the thread when it is due.

        Closing the generator stops it at its next step, and waits until it has stopped: whatever it
        uses is used no longer then.

        Raises
        ------
        RateLimitError
            If too many wait already.
        UnavailableError
            If the model leaves before.
        LabError
            What the work raises.
        """
        if len(self._asked) > self._max_queue:
            raise RateLimitError(
                f"{len(self._asked) - 1} {self._what} wait for `{self._name}` already "
                f"({self._setting}); try again later."
            )
        turn: Turn[StepT] = Turn(self._closing)
        done = self._thread.submit(work, turn)
        self._asked.add(done)
        done.add_done_callback(self._asked.discard)
        done.add_done_callback(lambda _: turn.say(None))
        ended = False
        try:
            while (step := await turn.steps.get()) is not None:
                yield step
            ended = True
            self._check(done)
        finally:
            turn.stop()
            done.cancel()  # where it did not begin
            while not ended:
                ended = await turn.steps.get() is None

    def close(self) -> None:
        """Stop what is under way at its next step, and end the thread."""
        self._closing.set()
        self._thread.shutdown(cancel_futures=True)

    def _check(self, done: "Future[None]") -> None:
        with suppress(StoppedError):
            if not done.cancelled():
                done.result()
                return
        raise UnavailableError(
            f"`{self._name}` was taken out of memory before it was done; try again."
        )
