"""What is stored of a run, and when: each method is one transaction."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from lab.db import Database, Stores
from lab.db.usage import beyond, without
from lab.errors import ConflictError
from lab.messages import Part, answer_parts
from lab.schemas.chat_result import ChatResult
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.message import Message
from lab.schemas.model_profile import ModelProfile
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.route import Route
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.usage import Usage
from lab.workflows.event_log import EventLog
from lab.workflows.resuming import Resumed, asked_of
from lab.workflows.turns import Turn, Turns


@dataclass(frozen=True)
class Entry:
    """
    How a run is entered.

    Attributes
    ----------
    details : mapping
        What its program keeps with it.
    alone : bool
        Refuse it where another run goes on in its conversation.
    """

    details: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


ENTRY: Final = Entry()
"""How runs are entered of which nothing else is said."""


class Recorder:
    """
    Store one chat run and its answer.

    Parameters
    ----------
    database : Database
        Where to store.
    log : EventLog
        What happens in the run.
    turns : Turns
        Where the answer belongs.
    profile : ModelProfile
        What answers.
    entry : Entry, optional
        How the run is entered.

    Attributes
    ----------
    usage : Usage or None
        What the answers cost that were noted; None where none was.
    members : list of Usage
        The part of it that members of a team used, who book it on their own models.
    """

    def __init__(
        self,
        database: Database,
        log: EventLog,
        turns: Turns,
        profile: ModelProfile,
        entry: Entry = ENTRY,
    ) -> None:
        self.usage: Usage | None = None
        self.members: list[Usage] = []
        self._database = database
        self._log = log
        self._owner_id = log.owner_id
        self._run_id = log.run_id
        self._turns = turns
        self._profile = profile
        self._entry = entry
        self._answered = False
        self._before: Sequence[Turn] = ()
        self._attached: Sequence[Part] = ()
        self._began = self._run_id

    def guarded(self) -> AbstractContextManager[None]:
        """Raise the lab's errors for what the database reports to the checkpointer."""
        return self._database.guarded()

    async def start(
        self,
        parameters: Mapping[str, Any],
        turn: ChatTurn,
        tools: Collection[str],
        resumed: Resumed | None,
        route: Route,
    ) -> None:
        """
        Store the run as running.

        Raises
        ------
        NotFoundError
            If the conversation is not there.
        ConflictError
            If another run went on with the turn since its left state was read, or goes on in the
            conversation where the run shall be alone.
        """
        kept = turn.conversation_id is not None and turn.store
        async with self._database.stores(self._owner_id) as stores:
            if self._entry.alone and turn.conversation_id is not None:
                await stores.threads.check_alone(turn.conversation_id)
            if resumed and await stores.runs.check_left(resumed.run_id) != resumed.last:
                raise ConflictError("Another run went on with this turn meanwhile; look again.")
            self._began = resumed.run_id if resumed else self._run_id
            await stores.runs.create(
                id=self._run_id,
                kind=RunKind.chat,
                profile=self._profile.id,
                parameters=dict(parameters),
                conversation_id=turn.conversation_id,
                asked=asked_of(turn, tools, route) if kept else None,
                on_disconnect=self._log.on_disconnect,
                resumes=resumed.run_id if resumed else None,
                details=self._entry.details,
            )

    async def keep_route(self, route: Route, asked: Sequence[UUID]) -> None:
        """Store what the last of these messages wants, and with the run how it is answered."""
        if not asked:
            return
        async with self._database.stores(self._owner_id) as stores:
            await stores.messages.note_intent(asked[-1], route)
            for run_id in {self._began, self._run_id}:
                run = await stores.runs.get(run_id)
                told = {**(run.asked or {}), "route": route.model_dump(mode="json")}
                await stores.runs.update(run_id, asked=told)

    async def keep_receipt(self, receipt: Receipt) -> None:
        """Store what is about to be put before the model."""
        async with self._database.stores(self._owner_id) as stores:
            await stores.runs.update(self._run_id, receipt=receipt)

    def note(self, turns: Sequence[Turn], usage: Usage) -> None:
        """Take what stands before the answer, calls of tools and their results, and its cost."""
        self._before, self.usage = turns, usage

    def attach(self, parts: Sequence[Part]) -> None:
        """Take what is stored with the answer beside its text."""
        self._attached = parts

    async def keep_answer(self, result: ChatResult | None) -> list[Message]:
        """Store what was noted and the answer, or as much of it as there is, once."""
        parts = [*(answer_parts(result) if result else []), *self._attached]
        turns = [*self._before, *([Turn(Role.assistant, parts)] if parts else [])]
        if self._answered or not turns:
            return []
        stored = await self._turns.keep_turns(turns, self._run_id)
        self._answered = True
        return stored

    async def finish(
        self,
        status: RunStatus,
        *,
        usage: Usage | None = None,
        error: str | None = None,
    ) -> None:
        """
        Close the run and store what happened in it.

        Parameters
        ----------
        status : RunStatus
            How it ended.
        usage : Usage, optional
            What its whole turn cost; what a run before it in the turn booked is not booked again.
        error : str, optional
            Why it failed.
        """
        async with (
            self._log.storing(end=True) as events,
            self._database.stores(self._owner_id) as stores,
        ):
            if usage is not None:
                await self._book(stores, usage)
            await stores.runs.update(
                self._run_id,
                status=status,
                usage=usage,
                error=error,
                finished_at=datetime.now(UTC),
            )
            await stores.events.extend({self._run_id: events})

    async def close(self, status: RunStatus, error: str | None) -> None:
        """Close the run, of which nothing else can be stored."""
        async with self._database.stores(self._owner_id) as stores:
            await stores.runs.update(
                self._run_id, status=status, error=error, finished_at=datetime.now(UTC)
            )

    async def _book(self, stores: Stores, usage: Usage) -> None:
        """Book what a turn cost beyond what is booked of it, or is a member's."""
        is_first = self._began == self._run_id
        booked = None if is_first else await stores.runs.usage_of(self._began)
        own = without(usage, self.members)
        left = own if booked is None else beyond(own, booked)
        if left.total_tokens or (booked is None and not self.members):
            await stores.usage.add(self._profile.model, self._profile.id, left, run_id=self._run_id)
