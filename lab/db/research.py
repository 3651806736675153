"""Research: tasks, their steps, and what searches of the web found for them."""

import builtins
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from lab.db.owned import OwnedStore
from lab.db.tables import ResearchStepRow, ResearchTaskRow, SearchResultRow
from lab.db.versioned import VersionedStore
from lab.errors import NotFoundError
from lab.schemas.research_step import ResearchStep
from lab.schemas.research_step_kind import ResearchStepKind
from lab.schemas.research_task import ResearchTask
from lab.schemas.run_status import RunStatus
from lab.schemas.search_result import SearchResult


class ResearchTaskStore(VersionedStore[ResearchTask]):
    """Tasks of one user; those of a chat go with it."""

    kind = "research task"
    row = ResearchTaskRow
    entity = ResearchTask
    changeable = frozenset({"status", "report", "error", "finished_at"})

    async def create(self, question: str, conversation_id: UUID | None = None) -> ResearchTask:
        """Ask for research, of a chat or in general; it waits from now on."""
        await self._check_conversation(conversation_id)
        return await self._insert(
            question=question, status=RunStatus.queued, conversation_id=conversation_id
        )


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


class SearchResultStore(OwnedStore[SearchResult]):
    """What searches of the web found for one user; the sources of a step go with it."""

    kind = "search result"
    row = SearchResultRow
    entity = SearchResult
    changeable = frozenset({"text"})

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
        """Keep the `text` of the page as it was read."""
        return await self._update(id, fields)
