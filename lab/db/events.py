"""
What happened in runs.

Events of one type that follow each other share a row, as the tokens of an answer do; receipts have
rows of their own, which are corrected when somebody is forgotten.
"""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from lab.db.owned import Store
from lab.db.runs import RunStore
from lab.db.tables import EventRow
from lab.schemas.event import Event
from lab.schemas.event_type import EventType

TICK = timedelta(microseconds=1)
"""How exactly it is kept when something happened."""


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
        return Event.model_validate(row, from_attributes=True)

    async def extend(self, runs: Mapping[UUID, Sequence[Event]]) -> None:
        """
        Store what happened in runs; what is stored again, with more after it, is replaced.

        The runs are the owner's: whoever writes looked them up in this transaction.
        """
        rows = [row for events in runs.values() for row in _rows(events)]
        if not rows:
            return
        new = insert(EventRow)
        told = {name: new.excluded[name] for name in ("type", "data", "created_at", "later")}
        await self._session.execute(
            new.on_conflict_do_update(index_elements=["run_id", "position"], set_=told),
            [{**row, "owner_id": self._owner_id} for row in rows],
        )

    async def list(self, run_id: UUID, after: int = -1) -> builtins.list[Event]:
        """Return the events of a run after a position, oldest first."""
        mine = EventRow.run_id == run_id, EventRow.owner_id == self._owner_id
        last_begun = select(func.max(EventRow.position)).where(*mine, EventRow.position <= after)
        rows = await self._session.scalars(
            select(EventRow)
            .where(*mine, EventRow.position >= func.coalesce(last_begun.scalar_subquery(), 0))
            .order_by(EventRow.position)
        )
        found = [event for row in rows for event in _events(row) if event.position > after]
        if not found:
            await RunStore(self._session, self._owner_id).get(run_id)
        return found


def _rows(events: Sequence[Event]) -> builtins.list[dict[str, Any]]:
    """Return events as rows; those of one type without another between them are one."""
    rows: builtins.list[dict[str, Any]] = []
    for event in events:
        row = rows[-1] if rows and event.type is not EventType.receipt else None
        if row and row["type"] is event.type and event.position == _next_position(row):
            row["later"].append([(event.created_at - row["created_at"]) // TICK, event.data])
        else:
            values = event.model_dump(include={"run_id", "position", "created_at", "type", "data"})
            rows.append({**values, "later": []})
    return [{**row, "later": row["later"] or None} for row in rows]


def _next_position(row: Mapping[str, Any]) -> int:
    position: int = row["position"] + 1 + len(row["later"])
    return position


def _events(row: EventRow) -> Iterator[Event]:
    first = Event.model_validate(row, from_attributes=True)
    yield first
    for n_before, (ticks, data) in enumerate(row.later or [], 1):
        position, created_at = first.position + n_before, first.created_at + ticks * TICK
        yield first.model_copy(
            update={"position": position, "data": data, "created_at": created_at}
        )
