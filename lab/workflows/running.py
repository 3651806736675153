"""
Runs that outlive their connections.

Such a run is a task of this process. Its events are in memory while it runs, for whoever follows
it, and are stored about every second, all runs of an owner in one transaction: a token costs no
round trip. Its end is stored before anybody hears of it, so who comes later finds the whole stream
in the database. A run of another process on the same database is followed there too.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from lab.db import Database
from lab.db.runs import OPEN
from lab.errors import ConflictError, UnavailableError, rebuild
from lab.protocols import ENDS
from lab.schemas.disconnect import Disconnect
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.run import Run
from lab.schemas.run_status import RunStatus
from lab.workflows.event_log import EventLog

STORE_S: Final = 1.0
"""How much of a stream a process that is killed may take along."""
LOOK_S: Final = 0.5
"""How often the stream of another process is read."""
SETTLED: Final = timedelta(seconds=5)
"""After its end nothing of a run is on its way any more."""
STOP_S: Final = 30.0
"""How long another process, which looks every `STORE_S`, may take to end a run."""

log = structlog.get_logger(__name__)


class LiveRun:
    """
    A run of this process that goes on, whoever reads it.

    Parameters
    ----------
    log : EventLog
        What is told of it.
    events : AsyncGenerator of Event
        The run; it is closed when the task ends.
    when_over : callable
        Called with the run's id when it has ended, and that is stored.
    """

    def __init__(
        self,
        log: EventLog,
        events: AsyncGenerator[Event, None],
        when_over: Callable[[UUID], object],
    ) -> None:
        self.log = log
        self._events: list[Event] = []
        self._has_ended = False
        self._when_over = when_over
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._take(events), name=f"run {log.run_id}")
        self._task.add_done_callback(self._over)

    @property
    def has_begun(self) -> bool:
        """Whether the run is stored."""
        return bool(self._events)

    async def begin(self) -> None:
        """
        Wait until the run is stored.

        Raises
        ------
        LabError
            Why it cannot be.
        """
        if not self._events and not self._has_ended:
            await self._news.wait()
        if not self._events:
            await self._task
        if (first := self._events[0]).type is EventType.run_failed:
            await self.wait()
            raise rebuild(first.data["code"], first.data["message"])

    async def follow(self, after: int = -1) -> AsyncGenerator[Event, None]:
        """Yield the events after a position, the last as soon as it is stored."""
        n_read = max(0, after + 1)
        while True:
            while n_read < len(self._events):
                yield self._events[n_read]
                n_read += 1
            if self._has_ended:
                return
            await self._news.wait()

    async def stop(self, status: RunStatus) -> None:
        """
        End the run, `cancelled` or `interrupted`, and wait until that is stored.

        Who comes while it is being ended waits for that: a second blow would tear it apart.
        """
        if not self._task.cancelling():
            self.log.if_stopped = status
            self._task.cancel()
        await self.wait()

    async def wait(self) -> None:
        """Wait until the run has ended."""
        await asyncio.wait([self._task])

    async def _take(self, events: AsyncGenerator[Event, None]) -> None:
        try:
            async with aclosing(events):
                async for event in events:
                    self._add(event)
        finally:
            # Who stops a run hears no more of its generator, whose last word is in the log.
            last = self.log.last
            if last is not None and last.position == len(self._events) and self.log.has_ended:
                self._events.append(last)
            self._has_ended = True
            self._news.set()

    def _over(self, task: asyncio.Task[None]) -> None:
        self._when_over(self.log.run_id)
        if self._events and not task.cancelled() and (error := task.exception()) is not None:
            log.error("run failed after its end", run_id=str(self.log.run_id), exc_info=error)

    def _add(self, event: Event) -> None:
        self._events.append(event)
        self._news.set()
        self._news = asyncio.Event()


class Running:
    """
    The runs of this process that outlive their connections.

    Parameters
    ----------
    database : Database
        Where they are stored.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._live: dict[UUID, LiveRun] = {}
        self._storing: asyncio.Task[None] | None = None
        self._stopping: set[asyncio.Task[None]] = set()

    async def begin(self, log: EventLog, events: AsyncGenerator[Event, None]) -> LiveRun:
        """
        Let a run go on by itself; return it once it is stored.

        Who is cancelled meanwhile cancels it: nobody knows of it yet.

        Raises
        ------
        LabError
            If it is refused.
        """
        self._live[log.run_id] = run = LiveRun(log, events, when_over=self._live.pop)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_regularly(), name="stored events")
        try:
            await run.begin()
        except asyncio.CancelledError:
            await run.stop(RunStatus.cancelled)
            raise
        return run

    async def follow(
        self, owner_id: UUID, run_id: UUID, after: int = -1
    ) -> AsyncGenerator[Event, None]:
        """
        Yield the events of a run after a position until it has ended.

        Closing the generator leaves the run alone.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        """
        run = self._of(owner_id, run_id)
        events = run.follow(after) if run else self._stored(owner_id, run_id, after)
        async with aclosing(events):
            async for event in events:
                yield event

    async def stop(self, owner_id: UUID, run_id: UUID, status: RunStatus) -> Run:
        """
        End a run, of whichever process, and return it; one that has ended stays as it is.

        Parameters
        ----------
        owner_id : UUID
            Whose it is.
        run_id : UUID
            The run.
        status : RunStatus
            `cancelled`, or `interrupted` to go on with it later.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If the run ends with its connection.
        UnavailableError
            If another process works on it, and does not end it.
        """
        if (live := self._of(owner_id, run_id)) is not None:
            await live.stop(status)
        await self._database.close_left_runs()
        async with self._database.stores(owner_id) as stores:
            run = await stores.runs.get(run_id)
            if run.finished_at is None and run.on_disconnect is Disconnect.cancel:
                raise ConflictError(
                    f"The run {run_id} ends with the connection that asked for it; close that."
                )
            await stores.runs.ask_to_stop(run_id, status)
        return await self._ended(owner_id, run_id)

    async def _ended(self, owner_id: UUID, run_id: UUID) -> Run:
        """Return a run once its process has ended it, or is gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                while True:
                    async with self._database.stores(owner_id) as stores:
                        run = await stores.runs.get(run_id)
                    if run.status not in OPEN:
                        return run
                    await asyncio.sleep(LOOK_S / 5)
                    await self._database.close_left_runs()
        raise UnavailableError(
            f"The process that works on the run {run_id} does not end it; try again, or end that "
            "process."
        )

    async def close_lost(self) -> None:
        """Close the runs of labs that are gone, and research here whose end nobody could store."""
        await self._database.close_left_runs()
        async with self._database.accounts() as accounts:
            # Asked before it is looked who lives: who lives is known here before it is stored.
            open_ = await accounts.own_research()
            lost = [id for id in open_ if id not in self._live]
            if lost:
                await accounts.interrupt(lost)

    async def aclose(self) -> None:
        """End what runs, as interrupted."""
        runs = list(self._live.values())
        await asyncio.gather(*(run.stop(RunStatus.interrupted) for run in runs))
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.wait([self._storing])

    def _of(self, owner_id: UUID, run_id: UUID) -> LiveRun | None:
        """Return a run of this process, if it is the owner's."""
        run = self._live.get(run_id)
        return run if run is not None and run.log.owner_id == owner_id else None

    async def _stored(
        self, owner_id: UUID, run_id: UUID, after: int
    ) -> AsyncGenerator[Event, None]:
        """Yield events of a run as they are stored: one that has ended, or another process's."""
        while True:
            async with self._database.stores(owner_id) as stores:
                run = await stores.runs.get(run_id)
                events = await stores.events.list(run_id, after)
            for event in events:
                after = event.position
                yield event
            if (events and events[-1].type in ENDS) or _is_settled(run):
                return
            await asyncio.sleep(LOOK_S)
            if run.finished_at is None:
                await self._database.close_left_runs()

    async def _store_regularly(self) -> None:
        """Store while anything runs."""
        while self._live:
            await asyncio.sleep(STORE_S)
            owners: dict[UUID, list[LiveRun]] = {}
            for run in self._live.values():
                if run.has_begun and not run.log.has_ended:
                    owners.setdefault(run.log.owner_id, []).append(run)
            for owner_id, runs in owners.items():
                await self._try_to_store(owner_id, runs)

    async def _try_to_store(self, owner_id: UUID, runs: Sequence[LiveRun]) -> None:
        """Store what was told of an owner's runs, of each alone where they cannot be together."""
        try:
            await self._store(owner_id, runs)
        except UnavailableError as error:
            log.warning("events wait", owner_id=str(owner_id), error=str(error))
        except Exception as error:
            if len(runs) == 1:
                log.error("events wait", run_id=str(runs[0].log.run_id), exc_info=error)
                return
            for run in runs:
                await self._try_to_store(owner_id, [run])

    async def _store(self, owner_id: UUID, runs: Sequence[LiveRun]) -> None:
        """Store what was told, and stop the runs that somebody cancelled or deleted elsewhere."""
        async with _unstored(runs) as events, self._database.stores(owner_id) as stores:
            held = await stores.runs.hold(list(events))
            await stores.events.extend({id: events[id] for id in held})
        for run in runs:
            status = held.get(run.log.run_id, RunStatus.cancelled)
            if status not in OPEN and not run.log.has_ended:
                stopping = asyncio.create_task(run.stop(status))
                self._stopping.add(stopping)
                stopping.add_done_callback(self._stopping.discard)


@asynccontextmanager
async def _unstored(runs: Sequence[LiveRun]) -> AsyncIterator[dict[UUID, Sequence[Event]]]:
    """Yield what is not stored yet of runs; when the block ends well, it is."""
    async with AsyncExitStack() as stack:
        yield {
            run.log.run_id: await stack.enter_async_context(run.log.storing(end=False))
            for run in runs
        }


def _is_settled(run: Run) -> bool:
    """Return whether no event of a run is on its way any more."""
    return run.finished_at is not None and datetime.now(UTC) - run.finished_at > SETTLED
