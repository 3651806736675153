"""
The thread that runs a batch, and the way between it and asyncio.

Requests go in by `submit`; what they yield comes out in their `Mailbox` on the event loop that
asked. A batch step that ends the thread fails its requests; the next request starts a new one.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lab.errors import RateLimitError, UnavailableError
from lab.pipelines.batch import Batch
from lab.pipelines.request import Outcome, Request
from lab.pipelines.tally import Tally

STALLED_S: Final = 0.02
"""Between two looks for the memory that an answer waits for."""


class Mailbox:
    """What the engine delivers to one reader; belongs to the event loop it is made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._items: list[Outcome] = []
        self._arrived = asyncio.Event()

    def put(self, item: Outcome) -> None:
        """Add an item; on the loop's thread."""
        self._items.append(item)
        self._arrived.set()

    async def take(self) -> list[Outcome]:
        """Wait for items and return all that have come."""
        await self._arrived.wait()
        self._arrived.clear()
        items, self._items = self._items, []
        return items


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A moment's load."""

    active: int
    queued: int


class Engine:
    """
    Run a batch on a thread of its own.

    Parameters
    ----------
    make_batch : callable
        Takes the engine's `flush`, returns an empty batch; called at every start of the thread.
    max_streams : int
        Requests that run at the same time.
    max_queue : int
        Requests that may wait.
    tally : Tally
        Where its tokens are counted.
    """

    def __init__(
        self,
        make_batch: Callable[[Callable[[], None]], Batch],
        *,
        max_streams: int,
        max_queue: int,
        tally: Tally,
    ) -> None:
        self._make_batch = make_batch
        self._max_requests = max_streams + max_queue
        self._max_streams = max_streams
        self._work = threading.Condition()
        self._arrivals: list[Request] = []  # guarded by `_work`, like the next three
        self._requests: dict[Request, Mailbox] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._resting = False
        self._batch: Batch | None = None
        self._outbox: list[tuple[Request, Outcome]] = []  # the thread's own
        self._tally = tally

    def submit(self, request: Request, mailbox: Mailbox) -> None:
        """Queue a request; raise `RateLimitError` when too many wait."""
        with self._work:
            if self._closed:
                raise UnavailableError("The model is being unloaded; try again in a moment.")
            if len(self._requests) >= self._max_requests:
                raise RateLimitError(
                    f"{len(self._requests)} answers are running or waiting, and the limit is "
                    f"{self._max_requests} (chat.max_streams + chat.max_queue); try again shortly."
                )
            self._requests[request] = mailbox
            self._arrivals.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._work.notify()

    def cancel(self, request: Request) -> None:
        """Give up a request; its row is free at the next step."""
        with self._work:
            request.cancelled = True
            self._forget(request)
            self._work.notify()

    def close(self) -> None:
        """End the thread; requests under way fail."""
        with self._work:
            self._closed = True
            thread = self._thread
            self._work.notify()
        if thread is not None:
            thread.join()

    def rest(self) -> None:
        """Give back the memory of keys and values, unless answers are under way."""
        with self._work:
            self._resting = self._thread is not None
            self._work.notify_all()
            self._work.wait_for(lambda: not self._resting)

    @property
    def stats(self) -> EngineStats:
        """Load now."""
        with self._work:
            n_requests = len(self._requests)
            return EngineStats(
                active=min(n_requests, self._max_streams),
                queued=max(n_requests - self._max_streams, 0),
            )

    @property
    def n_bytes(self) -> int:
        """Bytes of the batch's keys and values."""
        batch = self._batch
        return batch.n_bytes if batch else 0

    def deliver(self, request: Request, outcome: Outcome) -> None:
        """Keep an outcome for the next flush; called by the batch's requests."""
        self._outbox.append((request, outcome))

    def _run(self) -> None:
        """Step the batch until the engine closes; fail what is left, whatever ended it."""
        try:
            self._batch = batch = self._make_batch(self._flush)
            while self._admit(batch):
                batch.step()
        finally:
            self._end()

    def _admit(self, batch: Batch) -> bool:
        """Wait for work and hand arrivals to the batch; return False when the thread is to end."""
        with self._work:
            if batch.is_stalled:
                self._work.wait(STALLED_S)
            while not (self._closed or self._resting or self._arrivals or batch.requests):
                self._work.wait()
            batch.waiting.extend(self._arrivals)
            self._arrivals.clear()
            is_over = self._closed or (self._resting and not batch.requests)
            if self._resting:
                if is_over and not self._closed:  # else its requests are to fail yet
                    self._thread = self._batch = None
                self._resting = False
                self._work.notify_all()
            return not is_over

    def _end(self) -> None:
        reason = "The model's engine stopped while this answer ran, and starts again"
        if self._closed:
            reason = "The model was unloaded while this answer ran"
        error = UnavailableError(f"{reason}; send it again.")
        with self._work:
            if self._thread is not threading.current_thread():  # it rested, and nothing is lost
                return
            self._resting = False
            self._work.notify_all()
            for request in self._requests:
                request.fail(error)
            self._arrivals.clear()
            self._flush()
            self._thread = self._batch = None

    def _flush(self) -> None:
        """Send what was delivered to its readers: one call for each event loop."""
        outbox, self._outbox = self._outbox, []
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Mailbox, Outcome]]] = {}
        with self._work:
            for request, outcome in outbox:
                if mailbox := self._requests.get(request):
                    by_loop.setdefault(mailbox.loop, []).append((mailbox, outcome))
            for request, _ in outbox:
                if request.finished:
                    self._forget(request)
        for loop, letters in by_loop.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(hand_out, letters)

    def _forget(self, request: Request) -> None:
        """Drop a request from the account and count what it did; safe to repeat."""
        if self._requests.pop(request, None):
            self._tally.prompt_tokens += min(request.n_cached, len(request.input_ids))
            self._tally.generated_tokens += request.n_new


def hand_out(letters: list[tuple[Mailbox, Outcome]]) -> None:
    """Put each outcome into its mailbox."""
    for mailbox, outcome in letters:
        mailbox.put(outcome)
