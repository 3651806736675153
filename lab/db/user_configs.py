"""The settings that users changed."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from lab.db.changes import tell
from lab.db.owned import Store
from lab.db.tables import UserConfigRow


class UserConfigStore(Store):
    """The user layer of the settings: only what the user changed."""

    async def get(self) -> dict[str, Any]:
        """Return the changed settings by section and key; empty when none was changed."""
        values = await self._session.scalar(
            select(UserConfigRow.values).where(UserConfigRow.owner_id == self._owner_id)
        )
        return values or {}

    async def get_for_change(self) -> dict[str, Any]:
        """Return what `get` does; whoever else asks to change it waits for this transaction."""
        row = insert(UserConfigRow).values(owner_id=self._owner_id, values={})
        # An update that changes nothing locks the row, which the insert made where it was missing.
        statement = row.on_conflict_do_update(
            index_elements=[UserConfigRow.owner_id], set_={"values": UserConfigRow.values}
        )
        return (await self._session.scalars(statement.returning(UserConfigRow.values))).one()

    async def set(self, values: Mapping[str, Any]) -> None:
        """Replace the changed settings."""
        statement = insert(UserConfigRow).values(owner_id=self._owner_id, values=dict(values))
        await self._session.execute(
            statement.on_conflict_do_update(
                index_elements=[UserConfigRow.owner_id],
                set_={"values": statement.excluded["values"]},
            )
        )
        await tell(self._session, self._owner_id)
