"""One run of a task: its events, and how it ends."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from langchain_core.runnables import RunnableConfig

from lab.db import Database, Stores
from lab.errors import INTERRUPTED, DatabaseError, LabError, NotFoundError
from lab.protocols import Pipelines
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.model_profile import ModelProfile
from lab.schemas.research_task import ResearchTask
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.usage import Usage
from lab.texts import storable
from lab.workflows.composer import Composer
from lab.workflows.context import Told
from lab.workflows.event_log import EventLog
from lab.workflows.research.context import LeasedEmbedding, ResearchContext
from lab.workflows.research.graph import NAME, build_graph
from lab.workflows.research.places import Places
from lab.workflows.web import Web

WAITING: Final = "waiting"
"""Stage of a task that waits for its turn."""
RETRY_S: Final = 1.0
"""How often it is tried to store an end while the database is away."""
STOPPED: Final = {
    RunStatus.cancelled: EventType.run_cancelled,
    RunStatus.interrupted: EventType.run_interrupted,
}
"""What is told of a run that somebody stopped."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Workplace:
    """
    What research is done with.

    Attributes
    ----------
    database : Database
        Where tasks, steps and pages are.
    pipelines : Pipelines
        Where models are.
    web : Web
        Who searches and reads.
    composer : Composer
        Where its graph and checkpoints are kept.
    places : Places
        How many tasks are worked on at once.
    most_pages_at_once : int
        Pages that one request may read.
    """

    database: Database
    pipelines: Pipelines
    web: Web
    composer: Composer
    places: Places
    most_pages_at_once: int


class ResearchRun:
    """
    Work on a task until it is done, or stopped.

    Parameters
    ----------
    workplace : Workplace
        What it is done with.
    log : EventLog
        What is told of it.
    task : ResearchTask
        As it was read: where somebody changed it since, the run is refused.
    profile : ModelProfile
        Who plans and sums up.
    """

    def __init__(
        self, workplace: Workplace, log: EventLog, task: ResearchTask, profile: ModelProfile
    ) -> None:
        self._place = workplace
        self._log = log
        self._task = task
        self._profile = profile
        self._stores = partial(workplace.database.stores, task.owner_id)
        self._spent: list[Usage] = []
        self._anew = False
        """Its graph stands behind what failed: begun anew, it does the steps that are not done."""

    async def events(self) -> AsyncGenerator[Event, None]:
        """
        Yield what happens; the last event says how it ended. Closing the generator stops the run.

        Raises
        ------
        ConflictError
            If another run works on the task.
        """
        await self._open()
        try:
            async with aclosing(self._until_its_end()) as events:
                async for event in events:
                    yield event
        except (asyncio.CancelledError, GeneratorExit):
            await asyncio.shield(self._stop())
            raise

    async def _until_its_end(self) -> AsyncGenerator[Event, None]:
        """Yield what happens, until it is done or has failed."""
        try:
            yield self._log.tell(
                EventType.run_started,
                {
                    "profile": self._profile.id,
                    "model": self._profile.model,
                    "seed": self._task.seed,
                    "research_task_id": str(self._task.id),
                },
            )
            with self._place.database.guarded():
                async with aclosing(self._told()) as told:
                    async for type_, data in told:
                        yield self._log.tell(type_, data)
            done = self._log.tell(EventType.run_completed, {"finish_reason": "stop"})
            yield await self._end(done, RunStatus.completed)
        except LabError as error:
            yield await self._fail(error)
        except Exception as error:
            log.error("research failed", run_id=str(self._log.run_id), exc_info=error)
            what = f"The lab failed at it; give the operator this run id: {self._log.run_id}."
            yield await self._fail(LabError(what))

    async def _open(self) -> None:
        """Store the run, and that it is the one that works on the task."""
        task, run_id = self._task, self._log.run_id
        self._anew = task.status is RunStatus.failed
        is_free = self._place.places.is_free(task.owner_id)
        async with self._stores() as stores:
            began = await self._began(stores)
            self._task = await stores.research_tasks.update(
                task.id,
                task.version,
                run_id=run_id,
                status=RunStatus.running if is_free else RunStatus.queued,
                error=None,
                finished_at=None,
            )
            await stores.runs.create(
                id=run_id,
                kind=RunKind.research,
                profile=self._profile.id,
                parameters={"seed": task.seed},
                conversation_id=task.conversation_id,
                on_disconnect=self._log.on_disconnect,
                resumes=began,
            )

    async def _began(self, stores: Stores) -> Any:
        """Return the run that began the task; None where this one does."""
        if self._task.run_id is None:
            return None
        try:
            before = await stores.runs.get(self._task.run_id)
        except NotFoundError:
            return self._task.run_id
        return before.resumes or before.id

    async def _told(self) -> AsyncGenerator[Told, None]:
        """Run the graph and yield what its steps tell, as they do."""
        research = self._task.limits
        is_free = self._place.places.is_free(self._task.owner_id)
        if waited := self._task.status is RunStatus.queued or not is_free:
            yield EventType.stage, {"name": WAITING, "n_done": 0, "n_total": 1}
        async with self._place.places.one(self._task.owner_id):
            if waited:
                async with self._stores() as stores:
                    await stores.research_tasks.started(self._task.id, self._log.run_id)
                yield EventType.stage, {"name": WAITING, "n_done": 1, "n_total": 1}
            context = ResearchContext(
                task=self._task,
                run_id=self._log.run_id,
                profile=self._profile,
                pipelines=self._place.pipelines,
                embedding=LeasedEmbedding(self._place.pipelines),
                web=self._place.web,
                stores=self._stores,
                most_pages_at_once=self._place.most_pages_at_once,
                ends_at=time.monotonic() + research.timeout_s,
                spent=self._spent,
            )
            running = asyncio.create_task(self._work(context))
            running.add_done_callback(lambda _: context.told.put_nowait(None))
            try:
                while (told := await context.told.get()) is not None:
                    yield told
                await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    async def _work(self, context: ResearchContext) -> None:
        """
        Run the graph from its beginning, or on from where an earlier run left it.

        Its checkpoints go when it is done: what came of the steps stands with them.
        """
        composer = self._place.composer
        graph = composer.compose_task(NAME, build_graph)
        config: RunnableConfig = {
            "configurable": {"thread_id": str(self._task.id)},
            "max_concurrency": context.research.at_once,
        }
        if self._anew:
            await composer.forget(self._task.id)
        found = await graph.aget_state(config)
        begun = found.created_at is not None
        if found.next or not begun:
            begin = None if begun else {"n_questions": 0}
            await graph.ainvoke(begin, config, context=context, durability="sync")
        async with self._stores() as stores:
            await stores.research_tasks.hold(self._task.id, self._log.run_id)
        await composer.forget(self._task.id)

    async def _fail(self, error: LabError) -> Event:
        message = storable(str(error))
        data = {"code": error.code, "status": error.status, "message": message}
        event = self._log.tell(EventType.run_failed, data)
        return await self._end(event, RunStatus.failed, message)

    async def _stop(self) -> None:
        """Close a run that is stopped from outside; one that has ended stays as it is."""
        if self._log.has_ended:
            return
        status = self._log.if_stopped
        error = INTERRUPTED if status is RunStatus.interrupted else None
        await self._end(self._log.tell(STOPPED[status], {}), status, error)

    async def _end(self, event: Event, status: RunStatus, error: str | None = None) -> Event:
        """
        Close the run; an end that is not stored, and was not heard of, is none.

        While the database is away it is tried again, until it is back or somebody stops the run.
        Where somebody stopped it already, that is what its stream ends with.
        """
        waits = status not in STOPPED
        try:
            while (ended := await self._closed(status, error, waits=waits)) is not status:
                if ended is None:
                    await asyncio.sleep(RETRY_S)
                    continue
                self._log.take_back(event)
                event, status, error = self._log.tell(STOPPED[ended], {}), ended, None
        except NotFoundError:  # deleted under us, with its conversation
            log.info("research is gone", task_id=str(self._task.id))
        except BaseException:
            self._log.take_back(event)
            raise
        return event

    async def _closed(
        self, status: RunStatus, error: str | None, *, waits: bool
    ) -> RunStatus | None:
        """Close the run and return how it ended; None where it waits for the lost database."""
        try:
            await self._close(status, error)
        except _StoppedError as stopped:
            return stopped.status
        except DatabaseError as lost:
            if not waits:
                raise
            log.warning("the end of research waits", run_id=str(self._log.run_id), error=str(lost))
            return None
        return status

    async def _close(self, status: RunStatus, error: str | None) -> None:
        """
        Store how the run ended, and the task with it, at once.

        A task whose run is interrupted stays as it is: it is gone on with at the next start, unless
        somebody paused it.

        Raises
        ------
        _StoppedError
            If somebody stopped the run meanwhile, in another way; nothing is stored.
        """
        run_id, task_id = self._log.run_id, self._task.id
        async with self._log.storing(end=True) as events, self._stores() as stores:
            if status is not RunStatus.interrupted:
                await stores.research_tasks.finish(task_id, run_id, status, error)
            await stores.research_steps.leave(task_id, status, run_id)
            ended = await stores.runs.end(run_id, status, error, _sum(self._spent))
            if ended is not status and ended in STOPPED:
                raise _StoppedError(ended)
            await stores.events.extend({run_id: events})


class _StoppedError(Exception):
    """Somebody stopped the run before it could say how it ended."""

    def __init__(self, status: RunStatus) -> None:
        super().__init__(status.value)
        self.status = status


def _sum(spent: list[Usage]) -> Usage | None:
    """Return what answers cost together; None where there was none."""
    if not spent:
        return None
    counts = ("prompt_tokens", "completion_tokens", "total_tokens", "queue_ms", "total_ms")
    return Usage(**{name: sum(getattr(one, name) for one in spent) for name in counts})
