"""What models were used for, one row a generation, and its sums by day."""

from collections.abc import Iterable
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Date, Select, cast, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.ids import first_id
from lab.db.owned import Store
from lab.db.tables import UsageRow, UserRow
from lab.schemas.usage import Usage
from lab.schemas.usage_day import UsageDay


class UsageStore(Store):
    """What one user used."""

    async def add(
        self, model: str, profile: str, usage: Usage, *, run_id: UUID | None = None
    ) -> None:
        """Store what a generation cost; `run_id` is the run it was for."""
        await self._session.execute(
            insert(UsageRow).values(
                owner_id=self._owner_id,
                run_id=run_id,
                model=model,
                profile=profile,
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
                seconds=max(0.0, usage.total_ms - usage.queue_ms) / 1000,
            )
        )

    async def days(self, name: str, since: datetime) -> list[UsageDay]:
        """Return the sums by day and model from a moment on, newest first, under a user's name."""
        mine = UsageRow.owner_id == self._owner_id
        rows = await self._session.execute(_sums(since).where(mine))
        return [UsageDay(user=name, **row._mapping) for row in rows]


async def days_of_all(session: AsyncSession, since: datetime) -> list[UsageDay]:
    """Return the sums by day, user and model from a moment on, newest first."""
    named = (
        _sums(since)
        .add_columns(UserRow.name.label("user"))
        .join(UserRow, UserRow.id == UsageRow.owner_id)
        .group_by(UserRow.name)
        .order_by(UserRow.name)
    )
    return [UsageDay(**row._mapping) for row in await session.execute(named)]


def beyond(usage: Usage, booked: Usage) -> Usage:
    """Return what was used beyond what was used before."""
    counts = ("prompt_tokens", "completion_tokens", "total_tokens", "queue_ms", "total_ms")
    left = {name: max(0, getattr(usage, name) - getattr(booked, name)) for name in counts}
    return usage.model_copy(update=left)


def without(usage: Usage, parts: Iterable[Usage]) -> Usage:
    """Return what was used beside these parts of it."""
    for part in parts:
        usage = beyond(usage, part)
    return usage


def _sums(since: datetime) -> Select[date, str, int, int, int, float]:
    # By id and not by time: only the months that it names are read.
    day = cast(func.timezone("UTC", UsageRow.created_at), Date).label("day")
    columns = (
        day,
        UsageRow.model,
        func.count().label("n_generations"),
        func.sum(UsageRow.prompt_tokens).label("prompt_tokens"),
        func.sum(UsageRow.completion_tokens).label("completion_tokens"),
        func.sum(UsageRow.seconds).label("seconds"),
    )
    return (
        select(*columns)
        .where(UsageRow.id >= first_id(since))
        .group_by(day, UsageRow.model)
        .order_by(day.desc(), UsageRow.model)
    )
