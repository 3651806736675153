"""Users themselves: the one door to the database that has no owner."""

import builtins
import hmac
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Integer, cast, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.api_keys import hash_secret
from lab.db.changes import tell
from lab.db.ids import new_id
from lab.db.lost import LOST
from lab.db.passwords import hash_password, password_fits
from lab.db.presence import at_work
from lab.db.recall import Commonness, commonness
from lab.db.runs import OPEN
from lab.db.shared import erase_shared
from lab.db.tables import (
    ApiKeyRow,
    ConversationRow,
    EvalRunRow,
    ResearchTaskRow,
    RunRow,
    ScheduleRow,
    UserRow,
)
from lab.db.usage import days_of_all
from lab.errors import AuthenticationError, ConflictError, InputError, NotFoundError
from lab.schemas.caller import Caller
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.schedule import Schedule
from lab.schemas.scope import Scope
from lab.schemas.usage_day import UsageDay
from lab.schemas.user import User

USE_RESOLUTION = timedelta(minutes=1)
"""How exactly the last use of a key is kept, beside the age of its copy: more writes would cost."""


_TELL_INTERRUPTED = text(
    """
    INSERT INTO events (run_id, position, owner_id, type, data)
    SELECT r.id, coalesce((
        SELECT e.position + 1 + coalesce(jsonb_array_length(e.later), 0)
        FROM events e WHERE e.run_id = r.id ORDER BY e.position DESC LIMIT 1
    ), 0), r.owner_id, 'run_interrupted', '{}'
    FROM runs r WHERE r.id = ANY(:runs)
    """
)
"""The last event of runs whose lab could not tell it any more."""


class Accounts:
    """
    Users, their passwords and keys.

    Parameters
    ----------
    session : AsyncSession
        Open session. The door never commits: the caller owns the transaction.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def get(self, name: str) -> User:
        """Return the user of that name, or raise `NotFoundError`."""
        return _user(await self._row(name), name)

    async def get_by_id(self, id: UUID) -> User:
        """Return the user of that id, or raise `NotFoundError`."""
        return _user(await self._session.get(UserRow, id), id)

    async def get_or_create(self, name: str, *, is_admin: bool = False) -> User:
        """Return the user of that name, made when missing; `is_admin` is for a new one."""
        if (row := await self._row(name)) is None:
            _check_name(name)
            await self._session.execute(
                insert(UserRow).values(name=name, is_admin=is_admin).on_conflict_do_nothing()
            )
            row = await self._row(name)
        return _user(row, name)

    async def list(self) -> builtins.list[User]:
        """Return every user, by name."""
        rows = await self._session.scalars(select(UserRow).order_by(UserRow.name))
        return [_user(row, row.name) for row in rows]

    async def update(self, name: str, **fields: Any) -> User:
        """Change `is_admin`, `is_active` or `groups` of a user."""
        if unknown := fields.keys() - {"is_admin", "is_active", "groups"}:
            raise InputError(f"A user has no {', '.join(sorted(unknown))} to change.")
        return await self._change(name, **fields)

    async def delete(self, name: str) -> builtins.list[tuple[UUID, str]]:
        """
        Delete a user with everything that they own in the database.

        What they shared goes from others' receipts and checkpoints, too.

        Returns
        -------
        list of (UUID, str)
            Their evaluation runs, each with its executed notebook, which is still in the data
            folder.

        Raises
        ------
        NotFoundError
            If there is no such user.
        ConflictError
            If something of theirs still runs: it would go on writing.
        """
        # Locked, so that nothing of theirs can start from here on.
        mine = select(UserRow.id).where(UserRow.name == name).with_for_update()
        if (id := await self._session.scalar(mine)) is None:
            raise NotFoundError("user", name)
        await self._check_idle(id, name)
        notebooks = await self._session.execute(
            select(EvalRunRow.id, EvalRunRow.executed_notebook).where(
                EvalRunRow.owner_id == id, EvalRunRow.executed_notebook.is_not(None)
            )
        )
        left = [(run_id, str(notebook)) for run_id, notebook in notebooks]
        await erase_shared(self._session, name)
        await self._session.execute(delete(UserRow).where(UserRow.id == id))
        await tell(self._session, id, gone=True)
        await self.delete_lost()
        return left

    async def delete_lost(self) -> None:
        """Delete what libraries kept of conversations and schedules that are gone."""
        for table, is_lost in LOST.items():
            if await self._session.scalar(select(func.to_regclass(table).is_not(None))):
                await self._session.execute(text(f"DELETE FROM {table} WHERE {is_lost}"))

    async def ensure_admin(self, name: str) -> str | None:
        """Return the new password of the first administrator, or None when there is one."""
        _check_name(name)
        password = secrets.token_urlsafe(12)
        first = insert(UserRow).values(
            name=name, is_admin=True, password_hash=await hash_password(password)
        )
        made = await self._session.scalar(
            first.on_conflict_do_update(
                index_elements=[UserRow.name],
                set_={"password_hash": first.excluded.password_hash, "is_admin": True},
                where=UserRow.password_hash.is_(None),
            ).returning(UserRow.id)
        )
        if made:
            await tell(self._session, made)
        return password if made else None

    async def set_password(self, name: str, password: str) -> User:
        """Give a user a password."""
        if not password:
            raise InputError("The password is empty; give at least one character.")
        return await self._change(name, password_hash=await hash_password(password))

    async def check_password(self, name: str, password: str) -> User | None:
        """Return the user when the password is theirs and they may log in, else None."""
        row = await self._row(name)
        stored = row.password_hash if row else None
        if row is None or stored is None:
            await hash_password(password)  # an unknown name takes as long as a known one
            return None
        fits = await password_fits(password, stored)
        return _user(row, name) if fits and row.is_active else None

    async def user_of_key(self, secret: str) -> Caller:
        """Return whose key that is and what it may do, or raise `AuthenticationError`."""
        digest = hash_secret(secret)
        found = await self._session.execute(
            select(ApiKeyRow, UserRow)
            .join(UserRow, UserRow.id == ApiKeyRow.owner_id)
            .where(ApiKeyRow.secret_hash == digest)
        )
        match = found.one_or_none()
        if match is None or not hmac.compare_digest(match[0].secret_hash, digest):
            raise AuthenticationError("That API key is unknown; make one with `lab keys create`.")
        key, user = match
        now = datetime.now(UTC)
        check_not_ended(key.expires_at)
        if not user.is_active:
            raise AuthenticationError(f"The user `{user.name}` may not log in any more.")
        if key.last_used_at is None or now - key.last_used_at > USE_RESOLUTION:
            key.last_used_at = now
        return Caller(
            user=_user(user, user.name),
            scopes=[Scope(scope) for scope in key.scopes],
            expires_at=key.expires_at,
        )

    async def usage(self, since: datetime) -> builtins.list[UsageDay]:
        """Return what everybody used from a moment on, by day, model and user, newest first."""
        return await days_of_all(self._session, since)

    async def mark_interrupted(self) -> int:
        """Close the open runs of labs that are no more at work; return how many."""
        runs = await self._interrupt(RunRow)
        await self._session.execute(_TELL_INTERRUPTED, {"runs": runs})
        return len(runs) + len(await self._interrupt(EvalRunRow))

    async def own_research(self) -> builtins.list[UUID]:
        """Return the runs of this lab that work on research, as the database has them."""
        mine = cast(func.nullif(func.current_setting("lab.number", True), ""), Integer)
        found = await self._session.scalars(
            select(RunRow.id).where(
                RunRow.kind == RunKind.research,
                RunRow.status.in_(OPEN),
                RunRow.lab_number == mine,
            )
        )
        return list(found)

    async def interrupt(self, runs: Sequence[UUID]) -> None:
        """Close those of the runs that are open, and of which nobody will tell how they ended."""
        closed = await self._closed(RunRow, RunRow.id.in_(runs))
        await self._session.execute(_TELL_INTERRUPTED, {"runs": closed})

    async def schedules(self) -> builtins.list[Schedule]:
        """Return the schedules of every user, paused ones too, oldest first."""
        rows = await self._session.scalars(select(ScheduleRow).order_by(ScheduleRow.created_at))
        return [Schedule.model_validate(row, from_attributes=True) for row in rows]

    async def conversations_since(self, when: datetime) -> builtins.list[tuple[User, UUID]]:
        """Return the conversations of every user that were written to since then, oldest first."""
        found = await self._session.execute(
            select(UserRow, ConversationRow.id)
            .join(ConversationRow, ConversationRow.owner_id == UserRow.id)
            .where(ConversationRow.updated_at >= when, UserRow.is_active)
            .order_by(ConversationRow.updated_at)
        )
        return [(_user(row, row.id), id) for row, id in found]

    async def left_research(self) -> builtins.list[User]:
        """Return the users who have research that is not done, which nobody stopped."""
        rows = await self._session.scalars(
            select(UserRow)
            .where(
                UserRow.is_active,
                select(ResearchTaskRow.id)
                .where(ResearchTaskRow.owner_id == UserRow.id, ResearchTaskRow.status.in_(OPEN))
                .exists(),
            )
            .order_by(UserRow.id)
        )
        return [_user(row, row.name) for row in rows]

    async def shared(self, asking: UUID, most: int) -> builtins.list[tuple[User, UUID]]:
        """
        Return conversations that others share, the one that was written to last first.

        Whose account is switched off shares nothing: they could not end it.
        """
        found = await self._session.execute(
            select(UserRow, ConversationRow.id)
            .join(ConversationRow, ConversationRow.owner_id == UserRow.id)
            .where(ConversationRow.shared, UserRow.id != asking, UserRow.is_active)
            .order_by(ConversationRow.updated_at.desc(), ConversationRow.id.desc())
            .limit(most)
        )
        return [(_user(row, row.id), id) for row, id in found]

    async def commonness(
        self, asking: UUID, question: str, shared: Mapping[UUID, Sequence[UUID]]
    ) -> Commonness:
        """Return how common a question's words are in one's own turns and chats of others."""
        return await commonness(self._session, asking, question, shared)

    async def _check_idle(self, id: UUID, name: str) -> None:
        n_open = 0
        for row in (RunRow, EvalRunRow):
            n_open += (
                await self._session.scalar(
                    select(func.count()).where(row.owner_id == id, row.status.in_(OPEN))
                )
                or 0
            )
        if n_open:
            raise ConflictError(
                f"`{name}` has {n_open} runs that have not ended: wait for them or cancel them. "
                "Those of a lab that was killed end when it starts again."
            )

    async def _interrupt(self, row: type[RunRow] | type[EvalRunRow]) -> builtins.list[UUID]:
        return await self._closed(row, ~at_work(row.lab_number))

    async def _closed(
        self, row: type[RunRow] | type[EvalRunRow], which: ColumnElement[bool]
    ) -> builtins.list[UUID]:
        closed = await self._session.scalars(
            update(row)
            .where(row.status.in_(OPEN), which)
            .values(
                status=RunStatus.interrupted,
                error="The process that ran it ended; ask again.",
                finished_at=datetime.now(UTC),
            )
            .returning(row.id)
        )
        return list(closed)

    async def _row(self, name: str) -> UserRow | None:
        return await self._session.scalar(select(UserRow).where(UserRow.name == name))

    async def _change(self, name: str, **values: Any) -> User:
        changed = await self._session.scalar(
            update(UserRow).where(UserRow.name == name).values(values).returning(UserRow),
            execution_options={"populate_existing": True},
        )
        user = _user(changed, name)
        await tell(self._session, user.id)
        return user


def check_not_ended(expires_at: datetime | None) -> None:
    """Raise `AuthenticationError` when a key has ended."""
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise AuthenticationError(f"That API key ended on {expires_at:%Y-%m-%d %H:%M} UTC.")


def _user(row: UserRow | None, key: object) -> User:
    if row is None:
        raise NotFoundError("user", key)
    return User.model_validate(row, from_attributes=True)


def _check_name(name: str) -> None:
    try:
        User(id=new_id(), name=name, is_admin=False, is_active=True, created_at=datetime.now(UTC))
    except ValidationError as error:
        raise InputError(
            f"`{name}` cannot be a login name: it starts with a letter or digit, and 1 to 64 "
            "lower-case letters, digits, `.`, `_`, `@` and `-` follow each other."
        ) from error
