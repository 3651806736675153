"""What happened in runs."""

import builtins
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select

from lab.db.owned import Store
from lab.db.runs import RunStore
from lab.db.tables import EventRow
from lab.schemas.event import Event
from lab.schemas.event_type import EventType


class EventStore(Store):
    """Events of one user's runs, in order."""

    async def append(
        self, run_id: UUID, position: int, type: EventType, data: Mapping[str, Any]
    ) -> Event:
        """Store one event of a run."""
        await RunStore(self._session, self._owner_id).get(run_id)
        row = await self._session.scalar(
            insert(EventRow)
            .values(
                run_id=run_id,
                position=position,
                owner_id=self._owner_id,
                type=type,
                data=dict(data),
            )
            .returning(EventRow)
        )
        return _event(row)

    async def extend(self, run_id: UUID, events: Sequence[Event]) -> None:
        """Store many events of a run at once, as they are."""
        await RunStore(self._session, self._owner_id).get(run_id)
        if events:
            rows = [event.model_dump(mode="python") for event in events]
            await self._session.execute(
                insert(EventRow), [{**row, "owner_id": self._owner_id} for row in rows]
            )

    async def list(self, run_id: UUID, after: int = -1) -> builtins.list[Event]:
        """Return the events of a run after a position, oldest first."""
        rows = await self._session.scalars(
            select(EventRow)
            .where(
                EventRow.run_id == run_id,
                EventRow.owner_id == self._owner_id,
                EventRow.position > after,
            )
            .order_by(EventRow.position)
        )
        found = [_event(row) for row in rows]
        if not found:
            await RunStore(self._session, self._owner_id).get(run_id)
        return found


def _event(row: EventRow | None) -> Event:
    return Event.model_validate(row, from_attributes=True)
