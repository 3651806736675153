"""Research: questions that are answered by pages of the web."""

import builtins
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any
from uuid import UUID

from lab.client.answer import raise_failure
from lab.client.http import Http
from lab.client.requests import checked
from lab.client.runs import Runs
from lab.errors import ConflictError
from lab.schemas.event import Event
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_request import ResearchRequest
from lab.schemas.research_task import ResearchTask

PATH = "/v1/research"


class Research:
    """The user's research."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._runs = Runs(http)

    async def start(
        self,
        question: str,
        *,
        model: str | None = None,
        conversation: UUID | None = None,
        offline: bool = False,
        seed: int | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        **limits: Any,
    ) -> ResearchTask:
        """
        Begin to answer a question; it goes on by itself, and `follow` shows how.

        Parameters
        ----------
        question : str
            What is to be found out.
        model : str, optional
            Profile or model that plans and sums up; by default the user's.
        conversation : UUID, optional
            The conversation that it belongs to.
        offline : bool
            Replay earlier searches and read snapshots, without the network.
        seed : int, optional
            Of what models answer; by default it follows from the question.
        settings : mapping, optional
            Settings to try instead of the user's, by section.
        **limits
            Of the settings `research`, e.g. `max_pages`, `timeout_s`.

        Raises
        ------
        LabError
            If the lab refuses it.
        """
        sections = dict(settings or {})
        if limits:
            sections["research"] = {**sections.get("research", {}), **limits}
        request = checked(
            ResearchRequest,
            question=question,
            profile=model,
            conversation_id=conversation,
            offline=offline,
            seed=seed,
            settings=sections,
        )
        return await self._http.fetch("POST", PATH, ResearchTask, request)

    async def ask(self, question: str, **options: Any) -> ResearchDetails:
        """
        Return what research found, when it is done; takes what `start` takes.

        Whoever stops to wait leaves it to go on.

        Raises
        ------
        LabError
            If it is refused, fails, or is stopped.
        """
        task = await self.start(question, **options)
        async with aclosing(self.follow(task.id)) as events:
            async for event in events:
                raise_failure(event)
        details = await self.get(task.id)
        if details.task.report is None:
            raise ConflictError(
                f"The research {task.id} is {details.task.status.value}; go on with it "
                f"(`lab.research.resume`)."
            )
        return details

    async def follow(self, task_id: UUID, after: int = -1) -> AsyncGenerator[Event, None]:
        """
        Yield the events of a task's last run, after a position, until it has ended.

        A lost connection is made again. Closing the generator leaves the task alone.
        """
        task = (await self.get(task_id)).task
        if task.run_id is None:
            raise ConflictError(f"Nothing works on the research {task_id} yet; resume it.")
        async with aclosing(self._runs.follow(task.run_id, after)) as events:
            async for event in events:
                yield event

    async def list(
        self, limit: int = 50, before: UUID | None = None
    ) -> builtins.list[ResearchTask]:
        """Return tasks, newest first; `before` pages."""
        return await self._http.fetch("GET", PATH, list[ResearchTask], limit=limit, before=before)

    async def get(self, task_id: UUID) -> ResearchDetails:
        """Return a task with its steps, what they found, and what its report cites."""
        return await self._http.fetch("GET", f"{PATH}/{task_id}", ResearchDetails)

    async def report(self, task_id: UUID) -> str:
        """
        Return the report of a task as Markdown.

        Raises
        ------
        NotFoundError
            If there is none yet.
        """
        return (await self._http.download(f"{PATH}/{task_id}/report")).decode()

    async def cancel(self, task_id: UUID) -> ResearchTask:
        """Cancel a task; one that has ended stays as it is."""
        return await self._http.fetch("POST", f"{PATH}/{task_id}/cancel", ResearchTask)

    async def resume(self, task_id: UUID) -> ResearchTask:
        """
        Go on with a task that was stopped or failed; what is done of it is not done again.

        Raises
        ------
        ConflictError
            If it is done, or goes on already.
        """
        return await self._http.fetch("POST", f"{PATH}/{task_id}/resume", ResearchTask)

    async def delete(self, task_id: UUID) -> None:
        """Delete a task with its steps and its report; the pages that it read stay."""
        await self._http.delete(f"{PATH}/{task_id}")
