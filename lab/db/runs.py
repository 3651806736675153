"""Executions: chat turns and evaluations."""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.errors import UniqueViolation
from sqlalchemy import ColumnElement, Integer, cast, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from lab.db.ids import new_id
from lab.db.owned import OwnedStore
from lab.db.tables import RunRow
from lab.db.usage import without
from lab.errors import ConflictError, NotFoundError
from lab.schemas.disconnect import Disconnect
from lab.schemas.receipt import Receipt
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.usage import Usage

OPEN: Final = (RunStatus.queued, RunStatus.running)
"""Of runs that have not ended."""


class RunStore(OwnedStore[Run]):
    """Runs of one user."""

    kind = "run"
    row = RunRow
    entity = Run
    changeable = frozenset(
        {
            "status",
            "parameters",
            "usage",
            "receipt",
            "error",
            "finished_at",
            "conversation_id",
            "asked",
        }
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
        details: Mapping[str, Any] | None = None,
    ) -> Run:
        """
        Open a run, of a chat or not, which is running from now on.

        Raises
        ------
        ConflictError
            If another run goes on with the turn that it `resumes`.
        """
        await self._check_conversation(conversation_id)
        with _alone(resumes):
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
                details=dict(details or {}),
            )

    async def update(self, id: UUID, **fields: Any) -> None:
        """
        Change fields of a run: status, usage, receipt, error, finished_at and the like.

        The run is not read back: a turn does this twice, and its receipt may be long.
        """
        await self._check_conversation(fields.get("conversation_id"))
        changed = await self._session.scalar(
            update(RunRow).where(*self._is(id)).values(self._changes(fields)).returning(RunRow.id)
        )
        if changed is None:
            raise NotFoundError(self.kind, id)

    async def list(
        self, limit: int = 100, before: UUID | None = None, conversation_id: UUID | None = None
    ) -> builtins.list[Run]:
        """Return the newest runs first; `before` is the last id of the page before."""
        if conversation_id is None:
            return await self._page(limit, before)
        await self._check_conversation(conversation_id)
        return await self._page(limit, before, RunRow.conversation_id == conversation_id)

    async def hold(self, ids: Sequence[UUID]) -> dict[UUID, RunStatus]:
        """Return how runs stand or shall end; nobody deletes them until the transaction ends."""
        found = await self._session.execute(
            select(RunRow.id, func.coalesce(RunRow.stopping, RunRow.status))
            .where(RunRow.id.in_(ids), RunRow.owner_id == self._owner_id)
            .with_for_update(read=True, key_share=True)
        )
        return {id: RunStatus(status) for id, status in found}

    async def check_left(self, run_id: UUID) -> UUID:
        """
        Return the last run of a turn that was interrupted, by the run that began it.

        Raises
        ------
        ConflictError
            If that one goes on, or ended.
        """
        found = await self._session.execute(
            select(RunRow.id, RunRow.status)
            .where(*self._of_turn(run_id))
            .order_by(RunRow.id.desc())
            .limit(1)
        )
        last, status = found.one()
        if status in OPEN:
            raise ConflictError(f"The run {last} goes on with this turn already; follow it.")
        if status != RunStatus.interrupted:
            raise ConflictError(
                f"The run {last} went on with this turn and is {status}; ask again."
            )
        return UUID(str(last))

    async def receipt_of(self, run_id: UUID) -> Receipt | None:
        """Return what was put before the model last in a turn, by the run that began it."""
        found = await self._session.scalar(
            select(RunRow.receipt)
            .where(*self._of_turn(run_id), RunRow.receipt.is_not(None))
            .order_by(RunRow.id.desc())
            .limit(1)
        )
        return None if found is None else Receipt.model_validate(found)

    async def usage_of(self, run_id: UUID) -> Usage | None:
        """
        Return what the model of a turn is known to have cost so far, by the run that began it.

        Without what members of a team used; before the window is chosen, it was not asked.
        """
        found = await self._session.execute(
            select(RunRow.usage, RunRow.receipt)
            .where(*self._of_turn(run_id), RunRow.usage.is_not(None), RunRow.receipt.is_not(None))
            .order_by(RunRow.id.desc())
            .limit(1)
        )
        if (row := found.one_or_none()) is None:
            return None
        members = Receipt.model_validate(row.receipt).members
        return without(Usage.model_validate(row.usage), [one.usage for one in members if one.usage])

    async def end(
        self, id: UUID, status: RunStatus, error: str | None, usage: Usage | None
    ) -> RunStatus:
        """
        End a run, keep what it cost, and return how it ended: as somebody said who was faster.

        Raises
        ------
        NotFoundError
            If there is no such run.
        """
        values = {"status": status, "error": error, "finished_at": datetime.now(UTC)}
        await self._changed(values, *self._is(id), RunRow.status.in_(OPEN))
        await self.update(id, usage=usage)
        return (await self.get(id)).status

    async def ask_to_stop(self, id: UUID, status: RunStatus) -> None:
        """
        Let the lab that works on a run end it so; until then it is open, and others wait.

        One of this lab, which works on it no more, ends at once.
        """
        mine = cast(func.nullif(func.current_setting("lab.number", True), ""), Integer)
        await self._session.execute(
            update(RunRow)
            .where(*self._open([id]), RunRow.lab_number == mine)
            .values(status=status, finished_at=datetime.now(UTC))
        )
        await self._session.execute(update(RunRow).where(*self._open([id])).values(stopping=status))

    async def close(self, ids: Sequence[UUID], status: RunStatus) -> None:
        """End those of the runs that have not ended, for their processes to see."""
        await self._session.execute(
            update(RunRow)
            .where(*self._open(ids))
            .values(status=status, finished_at=datetime.now(UTC))
        )

    async def delete_with_resumed(self, run_id: UUID) -> None:
        """Delete the run that began some work, and those that went on with it."""
        await self._session.execute(delete(RunRow).where(*self._of_turn(run_id)))

    def _of_turn(self, run_id: UUID) -> tuple[ColumnElement[bool], ...]:
        """Return what holds for the run that began a turn and for those that went on with it."""
        turn = or_(RunRow.id == run_id, RunRow.resumes == run_id)
        return RunRow.owner_id == self._owner_id, turn

    def _open(self, ids: Sequence[UUID]) -> tuple[ColumnElement[bool], ...]:
        return RunRow.id.in_(ids), RunRow.owner_id == self._owner_id, RunRow.status.in_(OPEN)


@contextmanager
def _alone(resumes: UUID | None) -> Iterator[None]:
    """Say that another run goes on with a turn already: the database lets one do so at a time."""
    try:
        yield
    except IntegrityError as error:
        if resumes is None or not isinstance(error.orig, UniqueViolation):
            raise
        raise ConflictError("Another run goes on with this turn already; follow it.") from error
