"""Runs: what was asked, followed while it happens and afterwards."""

import asyncio
import builtins
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from lab.backoff import Backoff
from lab.client.http import Http
from lab.client.requests import checked
from lab.errors import UnavailableError
from lab.protocols import ENDS
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.resume_request import ResumeRequest
from lab.schemas.run import Run

PATH = "/v1/runs"

PATIENCE_S = 60.0
"""How long a lab that does not answer is asked again, after the last that was heard of it."""


class Runs:
    """The user's runs."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def list(
        self, limit: int = 50, *, conversation: UUID | None = None, before: UUID | None = None
    ) -> builtins.list[Run]:
        """Return runs, of one conversation or all, newest first; `before` pages."""
        return await self._http.fetch(
            "GET", PATH, list[Run], limit=limit, conversation=conversation, before=before
        )

    async def get(self, run_id: UUID) -> Run:
        """Return a run: what was asked, and what it cost."""
        return await self._http.fetch("GET", f"{PATH}/{run_id}", Run)

    async def follow(self, run_id: UUID, after: int = -1) -> AsyncGenerator[Event, None]:
        """
        Yield the events of a run after a position until it has ended, each once and in order.

        A lost connection is made again. Closing the generator leaves the run alone.

        Parameters
        ----------
        run_id : UUID
            A run that goes on without its client (`lab.stream(…, on_disconnect="continue")`), or
            one that has ended.
        after : int
            Position of the last event that is known already.

        Raises
        ------
        NotFoundError
            If it is not the user's.
        UnavailableError
            If the lab does not answer for a minute.
        """
        waits, heard = Backoff(first_s=0.1), time.monotonic()
        while True:
            try:
                async with aclosing(self._events(run_id, after)) as events:
                    async for event in events:
                        after, heard = event.position, time.monotonic()
                        yield event
                        if event.type in ENDS:
                            return
                if (await self.get(run_id)).finished_at is not None:
                    return
            except UnavailableError:
                if time.monotonic() - heard > PATIENCE_S:
                    raise
            await asyncio.sleep(waits.next_delay_s(time.monotonic() - heard))

    async def cancel(self, run_id: UUID) -> Run:
        """Cancel a run that goes on without its client; one that has ended stays as it is."""
        return await self._http.fetch("POST", f"{PATH}/{run_id}/cancel", Run)

    async def pause(self, run_id: UUID) -> Run:
        """Interrupt a run that goes on without its client, to `resume` it later."""
        return await self._http.fetch("POST", f"{PATH}/{run_id}/pause", Run)

    async def resume(self, run_id: UUID, reply: Any = None) -> Run:
        """
        Go on with an interrupted run after its last finished step; return the run that does.

        Parameters
        ----------
        run_id : UUID
            A turn of a stored conversation, which was paused or whose lab was killed.
        reply : object, optional
            The answer to what it asks (`asks` of its `run_interrupted`): where it wants to call
            tools, `{"approve": True}`, with other `arguments` by the id of the call or as they are,
            or `{"approve": False, "reason": "…"}`.

        Raises
        ------
        ConflictError
            If there is nothing to go on with.
        """
        request = checked(ResumeRequest, reply=reply)
        return await self._http.fetch("POST", f"{PATH}/{run_id}/resume", Run, request)

    async def answer(self, turn: ChatTurn) -> AsyncGenerator[Event, None]:
        """Yield the events of a turn that goes on by itself, through lost connections."""
        last: Event | None = None
        try:
            async with aclosing(self._http.events("/v1/turns", turn)) as events:
                async for event in events:
                    last = event
                    yield event
        except UnavailableError:
            if last is None:
                raise
        if last is not None and last.type not in ENDS:
            async with aclosing(self.follow(last.run_id, last.position)) as rest:
                async for event in rest:
                    yield event

    def _events(self, run_id: UUID, after: int) -> AsyncGenerator[Event, None]:
        return self._http.stream(f"{PATH}/{run_id}/stream", Event, method="GET", after=after)
