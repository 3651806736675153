"""
Changes that copies must not outlive: told by who makes them, heard by every lab at work.

PostgreSQL delivers what a transaction tells when it commits, in the order of commits. Copies and
changes are put in order by transaction ids, as `Moment` says.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import tuple_row
from pydantic import BaseModel, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MAX_REMEMBERED = 10_000
"""Owners whose last change is remembered one by one."""

_TELL = text(
    """
    SELECT pg_notify('lab_changes', json_build_object(
        'owner', CAST(:owner AS text), 'at', pg_current_xact_id()::text, 'gone', CAST(:gone AS bool)
    )::text)
    """
)
TELL_OF_ALL = """
    DO $$ BEGIN PERFORM pg_notify('lab_changes', json_build_object(
        'owner', NULL, 'at', pg_current_xact_id()::text, 'gone', false
    )::text); END $$;
    """
"""Statement that tells the same of everybody's rows."""

_LISTEN = "LISTEN lab_changes"
_MOMENT = """
    SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint
    FROM pg_current_snapshot() s
    """

_IDENTITY = """
    SELECT format('%s.%s', system_identifier, oid)
    FROM pg_control_system(), pg_database WHERE datname = current_database()
    """


class Moment(NamedTuple):
    """
    A moment of the database, in transaction ids.

    Attributes
    ----------
    seen : int
        What is read from now on shows every transaction below this one.
    next : int
        No transaction from this one on has begun.
    """

    seen: int
    next: int


async def tell(session: AsyncSession, owner_id: UUID, *, gone: bool = False) -> None:
    """
    Tell every lab at work, when the transaction commits, that copies of a user's rows are old.

    Parameters
    ----------
    session : AsyncSession
        The transaction that changes them.
    owner_id : UUID
        The user.
    gone : bool
        The user is deleted, and nobody may keep anything of theirs.
    """
    await session.execute(_TELL, {"owner": str(owner_id), "gone": gone})


async def read_moment(connection: AsyncConnection[Any]) -> Moment:
    """Return the moment that the database is at."""
    return Moment(*await _row(connection, _MOMENT))


async def read_identity(connection: AsyncConnection[Any]) -> str:
    """Return what no other database has, on this server or another; a copy has another one."""
    (identity,) = await _row(connection, _IDENTITY)
    return str(identity)


async def _row(connection: AsyncConnection[Any], query: LiteralString) -> tuple[Any, ...]:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        found = await (await cursor.execute(query)).fetchone()
    assert found is not None, "every database has one"
    return found


class Told(BaseModel):
    """What is told: whose rows (None: everybody's) changed in which transaction."""

    owner: UUID | None
    at: int
    gone: bool


class Changes:
    """
    What this process has heard of, and so which copies it may believe.

    Attributes
    ----------
    n_heard : int
        Grows with every change.
    on_gone : callable, optional
        Called with the id of a user who was deleted.
    """

    def __init__(self) -> None:
        self.n_heard = 0
        self.on_gone: Callable[[UUID], None] | None = None
        self._since: int | None = None
        self._last: OrderedDict[UUID, int] = OrderedDict()
        self._gone: set[UUID] = set()

    @property
    def is_listening(self) -> bool:
        """Whether no change can be missed now."""
        return self._since is not None

    async def listen(self, connection: AsyncConnection[Any]) -> None:
        """Hear of changes as long as the connection lasts, which must be in autocommit mode."""
        await connection.execute(_LISTEN)
        # What was told before this moment was not heard: copies must be of what came after.
        self._last.clear()
        self._since = (await read_moment(connection)).next
        try:
            async with aclosing(connection.notifies()) as notes:
                async for told in notes:
                    self._hear(Told.model_validate_json(told.payload))
        except ValidationError:
            return  # not from a lab like this one: who listens anew believes no older copy
        finally:
            self._since = None

    def note(self, owner_id: UUID | None, at: int) -> None:
        """Take note that transaction `at` changed rows of a user, or of everybody (None)."""
        self.n_heard += 1
        if owner_id is None:
            self._believe_after(at)
            return
        self._last[owner_id] = max(at, self._last.get(owner_id, 0))
        self._last.move_to_end(owner_id)
        if len(self._last) > MAX_REMEMBERED:
            _, oldest = self._last.popitem(last=False)
            self._believe_after(oldest)

    def allow(self, owner_id: UUID, seen: int) -> bool:
        """Return whether a copy of a user's rows, read at `Moment.seen`, shows all that changed."""
        if self._since is None or owner_id in self._gone:
            return False
        return seen >= self._since and seen > self._last.get(owner_id, 0)

    def _hear(self, told: Told) -> None:
        self.note(told.owner, told.at)
        if told.gone and told.owner is not None:
            self._gone.add(told.owner)
            if self.on_gone is not None:
                self.on_gone(told.owner)

    def _believe_after(self, at: int) -> None:
        if self._since is not None:
            self._since = max(self._since, at + 1)
