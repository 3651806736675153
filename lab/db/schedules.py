"""Evaluations that run by the clock."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from lab.db.owned import OwnedStore, free_name
from lab.db.tables import ScheduleRow
from lab.schemas.schedule import Schedule


class ScheduleStore(OwnedStore[Schedule]):
    """Schedules of one user, each with a name of its own."""

    kind = "schedule"
    row = ScheduleRow
    entity = Schedule
    changeable = frozenset(
        {"name", "cron", "evaluation", "parameters", "enabled", "last_run_at", "next_run_at"}
    )

    async def create(
        self,
        name: str,
        cron: str,
        evaluation: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        enabled: bool = True,
        next_run_at: datetime | None = None,
    ) -> Schedule:
        """Make a schedule, or raise `ConflictError` when the user has one of that name."""
        with free_name(self.kind, name):
            return await self._insert(
                name=name,
                cron=cron,
                evaluation=evaluation,
                parameters=dict(parameters or {}),
                enabled=enabled,
                next_run_at=next_run_at,
            )

    async def update(self, id: UUID, **fields: Any) -> Schedule:
        """Change fields of a schedule, or raise `ConflictError` as `create` does."""
        with free_name(self.kind, fields.get("name")):
            return await self._update(id, fields)
