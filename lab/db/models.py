"""The models that were added to the lab while it ran: everybody's, so nobody owns them."""

import builtins

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from lab.db.tables import ModelRow
from lab.schemas.model import Model


class ModelStore:
    """
    The catalog's own models, and the commits that models are pinned to.

    Parameters
    ----------
    session : AsyncSession
        Open session. The store never commits: the caller owns the transaction.
    """

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    async def list(self) -> builtins.list[Model]:
        """Return every model, the first added first."""
        rows = await self._session.scalars(select(ModelRow).order_by(ModelRow.created_at))
        return [Model.model_validate(row, from_attributes=True) for row in rows]

    async def put(self, model: Model) -> None:
        """Keep a model, in the place of one of its name."""
        kept = {"task": model.task, "source": model.source, "revision": model.revision}
        kept["description"] = model.description
        statement = insert(ModelRow).values(id=model.id, **kept)
        await self._session.execute(
            statement.on_conflict_do_update(index_elements=[ModelRow.id], set_=kept)
        )

    async def delete(self, id: str) -> None:
        """Delete a model, if it is there."""
        await self._session.execute(delete(ModelRow).where(ModelRow.id == id))
