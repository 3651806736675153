"""Research: questions that are answered by pages of the web."""

import asyncio
import builtins
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final
from uuid import UUID

from lab.client.answer import raise_failure
from lab.client.http import Http
from lab.client.requests import checked
from lab.client.runs import PATIENCE_S, Runs
from lab.errors import ConflictError, UnavailableError
from lab.protocols import ENDS
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.research_details import ResearchDetails
from lab.schemas.research_request import ResearchRequest
from lab.schemas.research_task import ResearchTask
from lab.schemas.run_status import RunStatus

PATH = "/v1/research"

LOOK_S: Final = 0.3
"""How often it is looked whether a lab that started goes on."""


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
            what = details.task.error or "Go on with it (`lab.research.resume`)."
            raise ConflictError(f"The research {task.id} is {details.task.status.value}. {what}")
        return details

    async def follow(self, task_id: UUID, after: int = -1) -> AsyncGenerator[Event, None]:
        """
        Yield the events of a task's last run, after a position, until the task has ended.

        A lost connection is made again, and where the lab ended and started anew, the events of the
        run follow that goes on. Closing the generator leaves the task alone.

        Raises
        ------
        ConflictError
            If no run ever worked on it.
        UnavailableError
            If the lab does not answer for a minute.
        """
        run_id = (await self.get(task_id)).task.run_id
        if run_id is None:
            raise ConflictError(f"Nothing works on the research {task_id} yet; resume it.")
        while run_id is not None:
            last: Event | None = None
            async with aclosing(self._runs.follow(run_id, after)) as events:
                async for event in events:
                    last = event
                    yield event
            # What a killed lab told last is not stored, so its end may stand before what was heard.
            if last is not None and last.type in ENDS - {EventType.run_interrupted}:
                return
            run_id, after = await self._next_run(task_id, run_id), -1

    async def _next_run(self, task_id: UUID, before: UUID) -> UUID | None:
        """Return the run that goes on with a task; None where nobody does within a minute."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    with suppress(UnavailableError):  # it starts anew
                        task = (await self.get(task_id)).task
                        if task.run_id != before:
                            return task.run_id
                        if task.status not in (RunStatus.queued, RunStatus.running):
                            return None
                    await asyncio.sleep(LOOK_S)
        return None

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
