"""Research tasks: asked for, worked on, stopped, gone on with, and deleted."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final
from uuid import UUID

import structlog

from lab.db import Database, Stores
from lab.db.runs import OPEN
from lab.errors import (
    ConflictError,
    DatabaseError,
    LabError,
    NotFoundError,
    RateLimitError,
    UnknownModelError,
)
from lab.protocols import Pipelines
from lab.schemas.config import Config
from lab.schemas.research_config import ResearchConfig
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_request import ResearchRequest
from lab.schemas.research_step_kind import ResearchStepKind
from lab.schemas.research_task import ResearchTask
from lab.schemas.run import Run
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from lab.texts import storable
from lab.workflows.composer import Composer
from lab.workflows.event_log import EventLog
from lab.workflows.preferences import Preferences
from lab.workflows.research.places import Places
from lab.workflows.research.report import without_pages
from lab.workflows.research.run import ResearchRun, Workplace
from lab.workflows.running import Running
from lab.workflows.web import Web

LOOK_S: Final = 5.0
"""How often it is looked whether another lab left research."""

log = structlog.get_logger(__name__)


class Research:
    """
    The research of all users.

    Parameters
    ----------
    database : Database
        Where tasks are.
    pipelines : Pipelines
        Where models are.
    web : Web
        Who searches and reads.
    running : Running
        The runs that go on without their client.
    composer : Composer
        Where compiled graphs and checkpoints are kept.
    config : Config
        Of the process.
    preferences : Preferences
        What people have set.
    """

    def __init__(
        self,
        database: Database,
        pipelines: Pipelines,
        web: Web,
        running: Running,
        composer: Composer,
        config: Config,
        preferences: Preferences,
    ) -> None:
        self._database = database
        self._running = running
        self._composer = composer
        self._preferences = preferences
        self._looking: asyncio.Task[None] | None = None
        limits = config.limits
        self._most_open = limits.max_open_research
        self._workplace = Workplace(
            database=database,
            pipelines=pipelines,
            web=web,
            composer=composer,
            places=Places(limits.max_research_at_once, limits.max_research_of_one),
            most_pages_at_once=config.pages.max_pages,
        )

    async def begin(self, owner: User, request: ResearchRequest) -> ResearchTask:
        """
        Begin to answer a question; it goes on, whoever follows it.

        Raises
        ------
        NotFoundError
            If the conversation or the profile is not there.
        LockedKeyError
            If it overrides a setting that the operator locked.
        RateLimitError
            If too many of the owner's are not done.
        """
        settings = (await self._preferences.settings_of(owner)).overlay("request", request.settings)
        roles = settings.config.roles
        profile = await self._preferences.profile(owner, settings, request.profile, roles.research)
        seed = _seed_of(request.question) if request.seed is None else request.seed
        limits = self._within(settings.config.research)
        async with self._database.stores(owner.id) as stores:
            await self._check_open(stores)
            task = await stores.research_tasks.create(
                request.question,
                request.conversation_id,
                profile=profile.id,
                offline=request.offline,
                seed=seed,
                limits=limits,
            )
            await stores.research_steps.add(task.id, ResearchStepKind.plan, request.question)
        return await self._begun(owner, task)

    async def resume(self, owner: User, task_id: UUID) -> ResearchTask:
        """
        Go on with a task that was stopped, or failed, after its last finished steps.

        Raises
        ------
        NotFoundError
            If the task is not the owner's.
        ConflictError
            If it is done, or a run works on it.
        """
        await self._running.close_lost()
        async with self._database.stores(owner.id) as stores:
            task = await stores.research_tasks.get(task_id)
            run = await _run_of(stores.runs.get, task)
        if task.status is RunStatus.completed:
            raise ConflictError(f"The research {task_id} is done; read its report.")
        if run is not None and run.status in OPEN:
            raise ConflictError(f"The run {run.id} works on the research {task_id}; follow it.")
        return await self._run(owner, task)

    async def open(self) -> None:
        """Go on with left tasks now, and from now on with those that other labs leave."""
        await self.resume_left()
        self._looking = asyncio.create_task(self._look(), name="left research")

    async def aclose(self) -> None:
        """Take up nothing more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def resume_left(self) -> None:
        """
        Go on with the tasks of processes that ended without having stopped them.

        One that cannot begin ends as failed, with the reason; one whose profile this lab does not
        know waits, and says so, for one that does.
        """
        await self._running.close_lost()
        async with self._database.accounts() as accounts:
            owners = await accounts.left_research()
        for owner in owners:
            try:
                async with self._database.stores(owner.id) as stores:
                    left = await stores.research_tasks.left()
                for task in left:
                    await self._take_up(owner, task)
            except Exception as error:  # what one has stored holds up nobody else
                log.error("research stays", owner_id=str(owner.id), exc_info=error)

    async def cancel(self, owner: User, task_id: UUID) -> ResearchTask:
        """Cancel a task, of whichever process; one that has ended stays as it is."""
        return await self._stop(owner, task_id, RunStatus.cancelled)

    async def stop_run(self, owner: User, run_id: UUID, status: RunStatus) -> Run:
        """
        Stop a run with the task that it works on, of whichever process, living or dead.

        Parameters
        ----------
        owner : User
            Whose it is.
        run_id : UUID
            The run.
        status : RunStatus
            `cancelled`, or `interrupted` to go on with it later.
        """
        async with self._database.stores(owner.id) as stores:
            task = await stores.research_tasks.of_run(run_id)
        if task is not None:
            await self._stop(owner, task.id, status)
        return await self._running.stop(owner.id, run_id, status)

    async def delete(self, owner: User, task_id: UUID) -> None:
        """Delete a task with its steps, citations and runs; the pages that it read stay."""
        task = await self.cancel(owner, task_id)
        await self._composer.forget(task_id)
        async with self._database.stores(owner.id) as stores:
            run = await _run_of(stores.runs.get, task)
            if run is not None:
                await stores.runs.delete_with_resumed(run.resumes or run.id)
            await stores.research_tasks.delete(task_id)

    async def details(self, owner: User, task_id: UUID) -> ResearchDetails:
        """Return a task with its steps, what they found, and what its report cites."""
        async with self._database.stores(owner.id) as stores:
            return ResearchDetails(
                task=await stores.research_tasks.get(task_id),
                steps=await stores.research_steps.list(task_id),
                results=await stores.search_results.of_task(task_id),
                citations=await stores.research_citations.list(task_id),
            )

    async def report(self, owner: User, task_id: UUID) -> str:
        """
        Return the report of a task as Markdown; it says which of its pages were deleted since.

        Raises
        ------
        NotFoundError
            If there is none yet.
        """
        async with self._database.stores(owner.id) as stores:
            task = await stores.research_tasks.get(task_id)
            citations = await stores.research_citations.list(task_id)
        if task.report is None:
            raise NotFoundError("report of research", task_id)
        lost = {one.number for one in citations if one.page_id is None and one.verified}
        return without_pages(task.report, sorted(lost))

    async def _check_open(self, stores: Stores) -> None:
        n_open = await stores.research_tasks.n_open()
        if n_open >= self._most_open:
            raise RateLimitError(
                f"{n_open} of your research tasks are not done, and {self._most_open} is the most "
                "(`limits.max_open_research`); wait for one, or cancel one (`lab research cancel`)."
            )

    def _within(self, limits: ResearchConfig) -> ResearchConfig:
        """Return limits that ask for no more than one request may read; the task keeps them."""
        most = min(limits.pages_per_question, self._workplace.most_pages_at_once)
        return limits.model_copy(update={"pages_per_question": most})

    async def _run(self, owner: User, task: ResearchTask) -> ResearchTask:
        """Let a run work on a task; return the task once that is stored."""
        settings = await self._preferences.settings_of(owner)
        profile = await self._preferences.profile(owner, settings, task.profile)
        event_log = EventLog(owner.id, whole=True, goes_on=True)
        run = ResearchRun(self._workplace, event_log, task, profile)
        await self._running.begin(event_log, run.events())
        async with self._database.stores(owner.id) as stores:
            return await stores.research_tasks.get(task.id)

    async def _begun(self, owner: User, task: ResearchTask) -> ResearchTask:
        """Begin a new task; whoever asked for it hears why it cannot, and so does who looks."""
        try:
            return await self._run(owner, task)
        except asyncio.CancelledError:  # nobody knows of it yet
            await asyncio.shield(self._stop(owner, task.id, RunStatus.cancelled))
            raise
        except ConflictError:
            async with self._database.stores(owner.id) as stores:
                task = await stores.research_tasks.get(task.id)
            if task.run_id is None:
                raise
            return task  # a lab that looked for left tasks was faster
        except LabError as error:
            await self._refuse(owner, task, error)
            raise

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await self.resume_left()
            except DatabaseError as error:
                log.warning("left research waits", error=str(error))
            except Exception as error:
                log.error("left research waits", exc_info=error)

    async def _take_up(self, owner: User, task: ResearchTask) -> None:
        try:
            await self._run(owner, task)
        except ConflictError:
            log.info("another lab goes on with research", task_id=str(task.id))
        except DatabaseError as error:  # it is looked at again
            log.warning("research waits", task_id=str(task.id), error=str(error))
        except UnknownModelError as error:  # another lab on the database may know it
            log.debug("research waits", task_id=str(task.id), error=str(error))
            async with self._database.stores(owner.id) as stores:
                await stores.research_tasks.wait(task, _waits_for(task))
        except LabError as error:
            await self._refuse(owner, task, error)

    async def _refuse(self, owner: User, task: ResearchTask, error: LabError) -> None:
        """End a task that cannot begin, unless somebody changed it meanwhile."""
        log.warning("research cannot begin", task_id=str(task.id), error=str(error))
        with suppress(ConflictError, NotFoundError, DatabaseError):
            async with self._database.stores(owner.id) as stores:
                await stores.research_tasks.update(
                    task.id,
                    task.version,
                    status=RunStatus.failed,
                    error=storable(str(error)),
                    finished_at=datetime.now(UTC),
                )

    async def _stop(self, owner: User, task_id: UUID, status: RunStatus) -> ResearchTask:
        # At once: no step is stored any more, no lab takes it up, and none says it otherwise.
        async with self._database.stores(owner.id) as stores:
            task = await stores.research_tasks.stop(task_id, status)
            if task.status is status:
                await stores.research_steps.leave(task_id, status)
                await stores.runs.close([task.run_id] if task.run_id else [], status)
        if task.run_id is not None and task.status is status:
            try:
                await self._running.stop(owner.id, task.run_id, status)
            except NotFoundError:
                log.info("run is gone", run_id=str(task.run_id))
        async with self._database.stores(owner.id) as stores:
            return await stores.research_tasks.get(task_id)


def _waits_for(task: ResearchTask) -> str:
    """Return what a task waits for that this lab cannot take up."""
    profile = f"the profile `{task.profile}`" if task.profile else "what `roles.primary` names"
    return storable(f"It waits for a lab that has {profile}.")


async def _run_of(get: Callable[[UUID], Awaitable[Run]], task: ResearchTask) -> Run | None:
    """Return the last run of a task, if there is one."""
    if task.run_id is None:
        return None
    try:
        return await get(task.run_id)
    except NotFoundError:
        return None


def _seed_of(question: str) -> int:
    """Return the seed of a question: the same for the same one."""
    return int.from_bytes(sha256(question.encode()).digest()[:4])
