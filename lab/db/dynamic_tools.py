"""Tools that were written for users, found by what they do."""

import builtins
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update

from lab.db.owned import free_name
from lab.db.tables import DynamicToolRow
from lab.db.vectors import check_vector
from lab.db.versioned import VersionedStore
from lab.errors import ConflictError, InputError
from lab.protocols import FloatArray
from lab.schemas.dynamic_tool import DynamicTool

MOST_TOOLS = 200
"""Of one user: a model is shown all that are approved."""

_TOGETHER = frozenset({"description", "embedding", "embedding_model"})


class DynamicToolStore(VersionedStore[DynamicTool]):
    """
    Tools of one user, each with a name of its own.

    The user approves a version: what is written anew waits for approval again.
    """

    kind = "dynamic tool"
    row = DynamicToolRow
    entity = DynamicTool
    changeable = _TOGETHER | {"name", "parameters", "code"}

    async def all(self) -> builtins.list[DynamicTool]:
        """Return every tool, by name."""
        return await self._some()

    async def approved(self) -> builtins.list[DynamicTool]:
        """Return every tool that may run, by name."""
        return await self._some(DynamicToolRow.approved_at.is_not(None))

    async def create(self, embedding: FloatArray, *, model: str, **about: Any) -> DynamicTool:
        """
        Store a tool, not approved yet.

        Parameters
        ----------
        embedding : array of shape (768,)
            Of the description.
        model : str
            Signature of the model that made it.
        **about
            `name`, `description`, `parameters` and `code` of `DynamicTool`.

        Raises
        ------
        ConflictError
            If the user has a tool of that name, or many.
        """
        check_vector("embedding", embedding)
        mine = select(func.count()).where(DynamicToolRow.owner_id == self._owner_id)
        if (await self._session.scalar(mine) or 0) >= MOST_TOOLS:
            raise ConflictError(
                f"You have {MOST_TOOLS} tools, and that is the most; remove one first."
            )
        values = self._changes({**about, "embedding": embedding, "embedding_model": model})
        with free_name(self.kind, values.get("name")):
            return await self._insert(**values)

    async def update(self, id: UUID, version: int, **fields: Any) -> DynamicTool:
        """
        Write a tool anew, which is approved no longer; otherwise as for every versioned row.

        Raises
        ------
        InputError
            If a description comes without its `embedding`, of shape (768,), and `embedding_model`.
        ConflictError
            If somebody else changed it meanwhile, or the user has another one of that name.
        """
        if 0 < len(_TOGETHER & fields.keys()) < len(_TOGETHER):
            raise InputError(
                f"{', '.join(sorted(_TOGETHER))} belong together, and only "
                f"{', '.join(sorted(_TOGETHER & fields.keys()))} came; give all or none."
            )
        if "embedding" in fields:
            check_vector("embedding", fields["embedding"])
        with free_name(self.kind, fields.get("name")):
            return await self._next(id, version, {**self._changes(fields), "approved_at": None})

    async def approve(self, id: UUID, version: int) -> DynamicTool:
        """Let the version that the user read run; `ConflictError` when it is another one now."""
        return await self._next(id, version, {"approved_at": datetime.now(UTC)})

    async def waiting(self, model: str) -> builtins.list[DynamicTool]:
        """Return the tools that another model embedded."""
        return await self._some(DynamicToolRow.embedding_model != model)

    async def renew(self, tool: DynamicTool, embedding: FloatArray, *, model: str) -> None:
        """Put the embedding (768,) by another model in a tool's place, if it is as it was."""
        check_vector("embedding", embedding)
        await self._session.execute(
            update(DynamicToolRow)
            .where(*self._is(tool.id), DynamicToolRow.version == tool.version)
            .values(embedding=embedding, embedding_model=model)
        )

    async def nearest(
        self, embedding: FloatArray, *, model: str, limit: int
    ) -> builtins.list[tuple[DynamicTool, float]]:
        """
        Return the tools that do what is nearest to a wish, the nearest first.

        Parameters
        ----------
        embedding : array of shape (768,)
            Of the wish.
        model : str
            Signature of the model that made it; tools of another are not compared.
        limit : int
            Most tools.

        Returns
        -------
        list of (DynamicTool, float)
            Each with its cosine similarity in [-1, 1].
        """
        check_vector("embedding", embedding)
        distance = DynamicToolRow.embedding.cosine_distance(embedding)
        rows = await self._session.execute(
            select(DynamicToolRow, 1 - distance)
            .where(
                DynamicToolRow.owner_id == self._owner_id, DynamicToolRow.embedding_model == model
            )
            .order_by(distance, DynamicToolRow.id)
            .limit(limit)
        )
        return [(self._checked(row), similarity) for row, similarity in rows]

    async def _some(self, *conditions: ColumnElement[bool]) -> builtins.list[DynamicTool]:
        mine = select(DynamicToolRow).where(DynamicToolRow.owner_id == self._owner_id, *conditions)
        rows = await self._session.scalars(mine.order_by(DynamicToolRow.name))
        return [self._checked(row) for row in rows]
