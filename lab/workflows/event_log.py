"""The events of one run: told in order, and those that are not stored yet."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from lab.db.ids import new_id
from lab.protocols import ENDS
from lab.schemas.disconnect import Disconnect
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.run_status import RunStatus
from lab.texts import storable_json

KEPT_ELSEWHERE: Final = frozenset(
    {
        EventType.content,
        EventType.thinking,
        EventType.tool_call_delta,
        EventType.receipt,
        EventType.member,
    }
)
"""Of a run that is not followed: the answer is in its message if anywhere, the receipt with it."""


class EventLog:
    """
    What is told of a run.

    Parameters
    ----------
    owner_id : UUID
        Whose run it is.
    whole : bool
        Store every event, so that the stream can be followed; else only what is kept nowhere else.
    goes_on : bool
        The run outlives its connection.

    Attributes
    ----------
    run_id : UUID
        The run.
    on_disconnect : Disconnect
        What becomes of the run when its client is gone.
    last : Event or None
        What was told last.
    if_stopped : RunStatus
        What becomes of the run when it is stopped from outside: `cancelled` or `interrupted`.
    """

    def __init__(self, owner_id: UUID, *, whole: bool, goes_on: bool = False) -> None:
        self.run_id = new_id()
        self.owner_id = owner_id
        self.last: Event | None = None
        self.on_disconnect = Disconnect.continue_ if goes_on else Disconnect.cancel
        self.if_stopped = RunStatus.cancelled
        self._whole = whole
        self._n_told = 0
        self._unstored: list[Event] = []
        # Who stores holds it: what is on its way to the database is not sent a second time.
        self._storing = asyncio.Lock()

    @property
    def has_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self.last is not None and self.last.type in ENDS

    def tell(self, type_: EventType, data: dict[str, Any]) -> Event:
        """Return what happened as the next event, in texts that can be stored."""
        event = Event(
            run_id=self.run_id,
            position=self._n_told,
            type=type_,
            data=storable_json(data),
            created_at=datetime.now(UTC),
        )
        self._n_told += 1
        self.last = event
        if self._whole or type_ not in KEPT_ELSEWHERE:
            self._unstored.append(event)
        return event

    def take_back(self, event: Event) -> None:
        """Untell the last event, an end that nobody heard of and that could not be stored."""
        self._unstored.remove(event)
        self._n_told -= 1
        self.last = None

    @asynccontextmanager
    async def storing(self, *, end: bool) -> AsyncIterator[Sequence[Event]]:
        """
        Yield what is not stored yet; when the block ends well, it is.

        Parameters
        ----------
        end : bool
            With the end of the run, whose status is stored in the same transaction.
        """
        async with self._storing:
            events = [event for event in self._unstored if end or event.type not in ENDS]
            yield events
            del self._unstored[: len(events)]
