"""Executions of evaluation notebooks."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from lab.db.ids import new_id
from lab.db.owned import OwnedStore
from lab.db.tables import EvalRunRow
from lab.schemas.eval_run import EvalRun
from lab.schemas.run_status import RunStatus


class EvalRunStore(OwnedStore[EvalRun]):
    """Evaluation runs of one user."""

    kind = "evaluation run"
    row = EvalRunRow
    entity = EvalRun
    changeable = frozenset(
        {
            "status",
            "metrics",
            "executed_notebook",
            "cells_done",
            "cells_total",
            "error",
            "started_at",
            "finished_at",
        }
    )

    async def create(
        self,
        name: str,
        notebook: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        schedule_id: UUID | None = None,
        id: UUID | None = None,
    ) -> EvalRun:
        """Queue an evaluation."""
        return await self._insert(
            id=id or new_id(),
            name=name,
            notebook=notebook,
            parameters=dict(parameters or {}),
            status=RunStatus.queued,
            schedule_id=schedule_id,
        )

    async def update(self, id: UUID, **fields: Any) -> EvalRun:
        """Change fields of an evaluation run: status, metrics, progress and the like."""
        return await self._update(id, fields)
