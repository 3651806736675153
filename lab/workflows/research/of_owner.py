"""The research of one user, as a turn of a chat asks for it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from uuid import UUID

from lab.errors import ConflictError
from lab.schemas.event import Event
from lab.schemas.research_request import ResearchRequest
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from lab.workflows.research.service import Research
from lab.workflows.running import Running


class OwnersResearch:
    """
    Research tasks for turns: a `Researcher`.

    Parameters
    ----------
    research : Research
        That of all users.
    running : Running
        Where its runs are followed.
    owner : User
        Whose it is.
    """

    def __init__(self, research: Research, running: Running, owner: User) -> None:
        self._research = research
        self._running = running
        self._owner = owner

    async def begin(self, question: str, conversation_id: UUID) -> UUID:
        """Begin a task of a conversation; return its id."""
        request = ResearchRequest(question=question, conversation_id=conversation_id)
        return (await self._research.begin(self._owner, request)).id

    async def follow(self, task_id: UUID) -> AsyncGenerator[Event, None]:
        """Yield the events of a task until its run ends; one that was left is gone on with."""
        task = (await self._research.details(self._owner, task_id)).task
        if task.status is RunStatus.completed:
            return
        if task.status is not RunStatus.running:
            with suppress(ConflictError):  # the lab that started goes on with it already
                await self._research.resume(self._owner, task_id)
            task = (await self._research.details(self._owner, task_id)).task
        if task.run_id is not None:
            async with aclosing(self._running.follow(self._owner.id, task.run_id)) as events:
                async for event in events:
                    yield event

    async def cancel(self, task_id: UUID) -> None:
        """Cancel a task."""
        await self._research.cancel(self._owner, task_id)

    async def report(self, task_id: UUID) -> str:
        """Return the report of a task as Markdown."""
        return await self._research.report(self._owner, task_id)
