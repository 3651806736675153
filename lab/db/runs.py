"""Executions: chat turns and evaluations."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from lab.db.ids import new_id
from lab.db.owned import OwnedStore
from lab.db.tables import RunRow
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus


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
        )

    async def update(self, id: UUID, **fields: Any) -> Run:
        """Change fields of a run: status, usage, receipt, error, finished_at and the like."""
        await self._check_conversation(fields.get("conversation_id"))
        return await self._update(id, fields)
