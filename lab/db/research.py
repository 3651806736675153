"""Research: tasks, their steps, what searches found for them, and what their reports cite."""

import builtins
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Integer, cast, func, or_, select, update

from lab.db.owned import OwnedStore
from lab.db.runs import OPEN
from lab.db.tables import (
    OwnedRow,
    ResearchCitationRow,
    ResearchStepRow,
    ResearchTaskRow,
    RunRow,
    SearchResultRow,
)
from lab.db.versioned import VersionedStore
from lab.errors import ConflictError, NotFoundError
from lab.schemas.research_citation import ResearchCitation
from lab.schemas.research_config import ResearchConfig
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind
from lab.schemas.research_task import ResearchTask
from lab.schemas.run_status import RunStatus
from lab.schemas.search_result import SearchResult


def known_limits(stored: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the limits of a task that are settings today, with values that these take.

    >>> known_limits({"max_pages": 3, "at_once": 1000, "max_moons": 2})
    {'max_pages': 3}
    """
    return {name: value for name, value in stored.items() if _is_limit(name, value)}


def _is_limit(name: str, value: Any) -> bool:
    try:
        ResearchConfig.model_validate({name: value})
    except ValidationError:
        return False
    return True


class ResearchTaskStore(VersionedStore[ResearchTask]):
    """Tasks of one user; those of a chat go with it."""

    kind = "research task"
    row = ResearchTaskRow
    entity = ResearchTask
    changeable = frozenset({"status", "report", "error", "finished_at", "run_id"})

    async def create(
        self,
        question: str,
        conversation_id: UUID | None = None,
        *,
        profile: str | None = None,
        offline: bool = False,
        seed: int = 0,
        limits: ResearchConfig | None = None,
    ) -> ResearchTask:
        """Ask for research, of a chat or in general; it waits from now on."""
        await self._check_conversation(conversation_id)
        return await self._insert(
            question=question,
            status=RunStatus.queued,
            conversation_id=conversation_id,
            profile=profile,
            offline=offline,
            seed=seed,
            limits=(limits or ResearchConfig()).model_dump(mode="json"),
        )

    def _read(self, row: OwnedRow | None) -> ResearchTask:
        """Read a task, of its limits those that there are today: it may be older than they."""
        values = {name: getattr(row, name) for name in ResearchTask.model_fields}
        return ResearchTask.model_validate({**values, "limits": known_limits(values["limits"])})

    async def n_open(self) -> int:
        """Return how many tasks are not done, and nobody stopped."""
        return (
            await self._session.scalar(
                select(func.count()).where(
                    ResearchTaskRow.owner_id == self._owner_id, ResearchTaskRow.status.in_(OPEN)
                )
            )
            or 0
        )

    async def started(self, id: UUID, run_id: UUID) -> None:
        """Note that a run, which waited for its turn, works on a task now."""
        await self._changed(
            {"status": RunStatus.running, "version": ResearchTaskRow.version + 1},
            *self._is(id),
            ResearchTaskRow.run_id == run_id,
            ResearchTaskRow.status == RunStatus.queued,
        )

    async def wait(self, task: ResearchTask, why: str) -> None:
        """
        Note why a task that no run works on waits, unless somebody changed it meanwhile.

        Its version stays: a lab that begins it at the same time is not held up.
        """
        noted = await self._changed(
            {"status": RunStatus.queued, "error": why},
            *self._is(task.id),
            ResearchTaskRow.version == task.version,
            ResearchTaskRow.status.in_(OPEN),
            ResearchTaskRow.error.is_distinct_from(why),
        )
        if noted is not None:
            steps = ResearchStepStore(self._session, self._owner_id)
            await steps.leave(task.id, RunStatus.interrupted)

    async def hold(self, id: UUID, run_id: UUID) -> None:
        """
        See to it that a run works on a task until the transaction ends.

        Raises
        ------
        ConflictError
            If another run does, or it was stopped.
        NotFoundError
            If there is no such task.
        """
        found = await self._session.execute(
            select(ResearchTaskRow.run_id, ResearchTaskRow.status)
            .where(*self._is(id))
            .with_for_update(key_share=True)
        )
        row = found.one_or_none()
        if row is None:
            raise NotFoundError(self.kind, id)
        if row.run_id != run_id or row.status not in OPEN:
            raise ConflictError(f"Another run went on with the research {id}, or it was stopped.")

    async def finish(
        self, id: UUID, run_id: UUID, status: RunStatus, error: str | None = None
    ) -> None:
        """End a task that a run works on; one that somebody stopped stays as it is."""
        await self._changed(
            {
                "status": status,
                "error": error,
                "finished_at": datetime.now(UTC),
                "version": ResearchTaskRow.version + 1,
            },
            *self._is(id),
            ResearchTaskRow.run_id == run_id,
            ResearchTaskRow.status.in_(OPEN),
        )

    async def stop(self, id: UUID, status: RunStatus) -> ResearchTask:
        """End a task that is not done, for its process to see; one that has ended stays so."""
        await self._changed(
            {
                "status": status,
                "error": None,
                "finished_at": datetime.now(UTC),
                "version": ResearchTaskRow.version + 1,
            },
            *self._is(id),
            ResearchTaskRow.status.in_((*OPEN, RunStatus.interrupted)),
        )
        return await self.get(id)

    async def of_run(self, run_id: UUID) -> ResearchTask | None:
        """Return the task that a run works on, or did so last."""
        row = await self._session.scalar(
            select(ResearchTaskRow).where(
                ResearchTaskRow.owner_id == self._owner_id, ResearchTaskRow.run_id == run_id
            )
        )
        return None if row is None else self._checked(row)

    async def left(self) -> builtins.list[ResearchTask]:
        """Return the tasks that nobody stopped and no run works on, the oldest first."""
        at_it = select(RunRow.id).where(
            RunRow.id == ResearchTaskRow.run_id, RunRow.status.in_(OPEN)
        )
        rows = await self._session.scalars(
            select(ResearchTaskRow)
            .where(
                ResearchTaskRow.owner_id == self._owner_id,
                ResearchTaskRow.status.in_(OPEN),
                ~at_it.exists(),
            )
            .order_by(ResearchTaskRow.id)
        )
        return [self._checked(row) for row in rows]


class ResearchStepStore(OwnedStore[ResearchStep]):
    """Steps of one user's tasks."""

    kind = "research step"
    row = ResearchStepRow
    entity = ResearchStep
    changeable = frozenset({"status", "result", "error", "finished_at"})

    async def add(self, task_id: UUID, kind: ResearchStepKind, question: str) -> ResearchStep:
        """Append a step to a task; it waits from now on."""
        # Held until the transaction ends, so that steps which are planned at once get positions.
        held = await self._session.scalar(
            select(ResearchTaskRow.id)
            .where(ResearchTaskRow.id == task_id, ResearchTaskRow.owner_id == self._owner_id)
            .with_for_update(key_share=True)
        )
        if held is None:
            raise NotFoundError(ResearchTaskStore.kind, task_id)
        position = await self._session.scalar(
            select(func.coalesce(func.max(ResearchStepRow.position) + 1, 0)).where(
                ResearchStepRow.task_id == task_id
            )
        )
        return await self._insert(
            task_id=task_id,
            position=position,
            kind=kind,
            question=question,
            status=RunStatus.queued,
        )

    async def list(  # type: ignore[override]  # steps are listed by task
        self, task_id: UUID
    ) -> builtins.list[ResearchStep]:
        """Return the steps of a task, the first one first."""
        rows = await self._session.scalars(
            select(ResearchStepRow)
            .where(ResearchStepRow.owner_id == self._owner_id, ResearchStepRow.task_id == task_id)
            .order_by(ResearchStepRow.position)
        )
        found = [self._checked(row) for row in rows]
        if not found:
            await ResearchTaskStore(self._session, self._owner_id).get(task_id)
        return found

    async def update(self, id: UUID, **fields: Any) -> ResearchStep:
        """Change fields of a step: status, result, error and finished_at."""
        return await self._update(id, fields)

    async def complete(self, id: UUID, result: str, error: str | None = None) -> ResearchStep:
        """
        Store what came of a step, once, and what went wrong although it is done.

        Raises
        ------
        ConflictError
            If it is done already.
        """
        values = {
            "status": RunStatus.completed,
            "result": result,
            "error": error,
            "finished_at": datetime.now(UTC),
        }
        row = await self._changed(
            values, *self._is(id), ResearchStepRow.status != RunStatus.completed
        )
        if row is None:
            await self.get(id)
            raise ConflictError(f"The research step {id} is done already.")
        return self._checked(row)

    async def leave(self, task_id: UUID, status: RunStatus, run_id: UUID | None = None) -> None:
        """
        Say of the steps of a task that are under way how they were left.

        Parameters
        ----------
        task_id : UUID
            The task.
        status : RunStatus
            How.
        run_id : UUID, optional
            Who leaves them; where another run works on the task, they stay as they are.
        """
        by = [] if run_id is None else [ResearchTaskRow.run_id == run_id]
        await self._session.execute(
            update(ResearchStepRow)
            .where(
                select(ResearchTaskRow.id).where(ResearchTaskRow.id == task_id, *by).exists(),
                ResearchStepRow.task_id == task_id,
                ResearchStepRow.owner_id == self._owner_id,
                ResearchStepRow.status == RunStatus.running,
            )
            .values(status=status)
        )

    async def searched(self, question: str, besides: UUID, limit: int) -> UUID | None:
        """
        Return the last search for a question that was done, but for those of one task.

        One that found nothing because something failed is none. Of those that asked for too few
        results, the one that asked for most is taken, where there is no other.

        Parameters
        ----------
        question : str
            What was searched for.
        besides : UUID
            The task.
        limit : int
            Results that are wanted.
        """
        asked_for = cast(ResearchTaskRow.limits["results_per_question"].astext, Integer)
        found = select(SearchResultRow.id).where(SearchResultRow.step_id == ResearchStepRow.id)
        return await self._session.scalar(
            select(ResearchStepRow.id)
            .join(ResearchTaskRow, ResearchTaskRow.id == ResearchStepRow.task_id)
            .where(
                ResearchStepRow.owner_id == self._owner_id,
                ResearchStepRow.kind == ResearchStepKind.search,
                ResearchStepRow.question == question,
                ResearchStepRow.status == RunStatus.completed,
                ResearchStepRow.task_id != besides,
                or_(found.exists(), ResearchStepRow.error.is_(None)),
            )
            .order_by(
                func.least(func.coalesce(asked_for, 0), limit).desc(),
                ResearchStepRow.finished_at.desc(),
                ResearchStepRow.id.desc(),
            )
            .limit(1)
        )


class SearchResultStore(OwnedStore[SearchResult]):
    """What searches of the web found for one user; the sources of a step go with it."""

    kind = "search result"
    row = SearchResultRow
    entity = SearchResult
    changeable = frozenset({"text", "page_id", "failure"})

    async def add(self, *, step_id: UUID | None = None, **about: Any) -> SearchResult:
        """
        Store one result of a search.

        Parameters
        ----------
        step_id : UUID, optional
            The step of research that it is a source of.
        **about
            `query`, `provider`, `position`, `url`, `title` and `snippet` of `SearchResult`.
        """
        if step_id is not None:
            await ResearchStepStore(self._session, self._owner_id).get(step_id)
        return await self._insert(step_id=step_id, **about)

    async def list(
        self, limit: int = 100, before: UUID | None = None, step_id: UUID | None = None
    ) -> builtins.list[SearchResult]:
        """Return the newest results first, of one step or of all."""
        scope = [] if step_id is None else [SearchResultRow.step_id == step_id]
        return await self._page(limit, before, *scope)

    async def update(self, id: UUID, **fields: Any) -> SearchResult:
        """Keep the `text` of the page as it was read, the page itself, or why it was not."""
        return await self._update(id, fields)

    async def of_task(self, task_id: UUID) -> builtins.list[SearchResult]:
        """Return what was found for a task, search by search, the best first."""
        rows = await self._session.scalars(
            select(SearchResultRow)
            .join(ResearchStepRow, ResearchStepRow.id == SearchResultRow.step_id)
            .where(SearchResultRow.owner_id == self._owner_id, ResearchStepRow.task_id == task_id)
            .order_by(ResearchStepRow.position, SearchResultRow.position)
        )
        return [self._checked(row) for row in rows]

    async def of_step(self, step_id: UUID) -> builtins.list[SearchResult]:
        """Return what a search found, the best first."""
        rows = await self._session.scalars(
            select(SearchResultRow)
            .where(SearchResultRow.owner_id == self._owner_id, SearchResultRow.step_id == step_id)
            .order_by(SearchResultRow.position)
        )
        return [self._checked(row) for row in rows]


class ResearchCitationStore(OwnedStore[ResearchCitation]):
    """What reports of one user cite; the citations of a task go with it."""

    kind = "research citation"
    row = ResearchCitationRow
    entity = ResearchCitation

    async def add(self, task_id: UUID, **about: Any) -> ResearchCitation:
        """
        Store a citation.

        Parameters
        ----------
        task_id : UUID
            Whose report it is in.
        **about
            The other fields of `ResearchCitation`.
        """
        await ResearchTaskStore(self._session, self._owner_id).get(task_id)
        return await self._insert(task_id=task_id, **about)

    async def list(  # type: ignore[override]  # citations are listed by task
        self, task_id: UUID
    ) -> builtins.list[ResearchCitation]:
        """Return what the report of a task cites, in its order."""
        rows = await self._session.scalars(
            select(ResearchCitationRow)
            .where(
                ResearchCitationRow.owner_id == self._owner_id,
                ResearchCitationRow.task_id == task_id,
            )
            .order_by(ResearchCitationRow.position)
        )
        found = [self._checked(row) for row in rows]
        if not found:
            await ResearchTaskStore(self._session, self._owner_id).get(task_id)
        return found
