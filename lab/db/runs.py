"""Executions: chat turns and evaluations."""

import builtins
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, or_, select, update

from lab.db.ids import new_id
from lab.db.owned import OwnedStore
from lab.db.tables import RunRow
from lab.schemas.disconnect import Disconnect
from lab.schemas.receipt import Receipt
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus

OPEN: Final = (RunStatus.queued, RunStatus.running)
"""Of runs that have not ended."""


class RunStore(OwnedStore[Run]):
    """Runs of one user."""

    kind = "run"
    row = RunRow
    entity = Run
    changeable = frozenset(
        {"status", "parameters", "usage", "receipt", "error", "finished_at", "conversation_id"}
    )

    async def create(
        self,
        kind: RunKind,
        profile: str | None,
        parameters: Mapping[str, Any],
        conversation_id: UUID | None = None,
        id: UUID | None = None,
        asked: Mapping[str, Any] | None = None,
        on_disconnect: Disconnect = Disconnect.cancel,
        resumes: UUID | None = None,
    ) -> Run:
        """Open a run, of a chat or not, which is running from now on."""
        await self._check_conversation(conversation_id)
        return await self._insert(
            id=id or new_id(),
            kind=kind,
            status=RunStatus.running,
            profile=profile,
            parameters=dict(parameters),
            conversation_id=conversation_id,
            asked=asked,
            on_disconnect=on_disconnect,
            resumes=resumes,
        )

    async def update(self, id: UUID, **fields: Any) -> Run:
        """Change fields of a run: status, usage, receipt, error, finished_at and the like."""
        await self._check_conversation(fields.get("conversation_id"))
        return await self._update(id, fields)

    async def list(
        self, limit: int = 100, before: UUID | None = None, conversation_id: UUID | None = None
    ) -> builtins.list[Run]:
        """Return the newest runs first; `before` is the last id of the page before."""
        if conversation_id is None:
            return await self._page(limit, before)
        await self._check_conversation(conversation_id)
        return await self._page(limit, before, RunRow.conversation_id == conversation_id)

    async def hold(self, ids: Sequence[UUID]) -> dict[UUID, RunStatus]:
        """Return where runs stand; nobody deletes them until the transaction ends."""
        found = await self._session.execute(
            select(RunRow.id, RunRow.status)
            .where(RunRow.id.in_(ids), RunRow.owner_id == self._owner_id)
            .with_for_update(read=True, key_share=True)
        )
        return {id: RunStatus(status) for id, status in found}

    async def going_on(self, run_id: UUID) -> UUID | None:
        """Return the run that goes on with a turn just now, by the run that began it."""
        return await self._session.scalar(
            select(RunRow.id)
            .where(
                RunRow.owner_id == self._owner_id,
                RunRow.resumes == run_id,
                RunRow.status.in_(OPEN),
            )
            .limit(1)
        )

    async def receipt_of(self, run_id: UUID) -> Receipt | None:
        """Return what was put before the model last in a turn, by the run that began it."""
        found = await self._session.scalar(
            select(RunRow.receipt)
            .where(
                RunRow.owner_id == self._owner_id,
                or_(RunRow.id == run_id, RunRow.resumes == run_id),
                RunRow.receipt.is_not(None),
            )
            .order_by(RunRow.id.desc())
            .limit(1)
        )
        return None if found is None else Receipt.model_validate(found)

    async def close(self, ids: Sequence[UUID], status: RunStatus) -> None:
        """End those of the runs that have not ended, for their processes to see."""
        await self._session.execute(
            update(RunRow)
            .where(*self._open(ids))
            .values(status=status, finished_at=datetime.now(UTC))
        )

    def _open(self, ids: Sequence[UUID]) -> tuple[ColumnElement[bool], ...]:
        return RunRow.id.in_(ids), RunRow.owner_id == self._owner_id, RunRow.status.in_(OPEN)
