"""Compile graphs once and keep them."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from lab.db import Database
from lab.errors import NotFoundError
from lab.workflows import chat
from lab.workflows.context import ChatContext

Graph = CompiledStateGraph[Any, ChatContext]

GRAPHS: Mapping[str, Callable[[], StateGraph[Any, ChatContext]]] = {"chat": chat.build_graph}
"""Every workflow by name: a new graph file is entered here."""


class Composer:
    """
    The compiled graphs of this process.

    Parameters
    ----------
    database : Database
        Open and migrated; keeps the steps of stored conversations.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._checkpointer = AsyncPostgresSaver(database.pool)
        self._graphs: dict[tuple[str, bool], Graph] = {}

    def compose(self, name: str, *, checkpointed: bool) -> Graph:
        """Return the compiled graph; see `compose_workflow`."""
        if name not in GRAPHS:
            raise NotFoundError("workflow", name)
        key = name, checkpointed
        if key not in self._graphs:
            saver = self._checkpointer if checkpointed else None
            self._graphs[key] = GRAPHS[name]().compile(checkpointer=saver, name=name)
        return self._graphs[key]

    async def forget(self, thread_id: UUID) -> None:
        """Delete the checkpoints of a conversation."""
        with self._database.guarded():
            await self._checkpointer.adelete_thread(str(thread_id))


async def initialize_composer(database: Database) -> Composer:
    """Return a composer whose checkpoints are kept in an open, migrated database."""
    return Composer(database)


def compose_workflow(composer: Composer, name: str, *, checkpointed: bool = True) -> Graph:
    """
    Return a workflow's compiled graph.

    Parameters
    ----------
    composer : Composer
        Where compiled graphs are kept.
    name : str
        Name of the workflow, e.g. `chat`.
    checkpointed : bool
        Keep each step; a stateless request leaves nothing behind.

    Raises
    ------
    NotFoundError
        If there is no workflow of that name.
    """
    return composer.compose(name, checkpointed=checkpointed)
