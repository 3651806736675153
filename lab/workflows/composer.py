"""Compile graphs once and keep them."""

from collections.abc import Callable, Mapping
from typing import Any, Final, LiteralString
from uuid import UUID

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph

from lab.db import Database
from lab.errors import NotFoundError
from lab.workflows import analysis, chat, drawing, planning, team
from lab.workflows.context import ChatContext
from lab.workflows.resuming import AUTO

Graph = CompiledStateGraph[Any, ChatContext]

IMAGE: Final = "image"
"""The workflow that makes pictures, where the lab has a model for that."""

GRAPHS: Mapping[str, Callable[[], StateGraph[Any, ChatContext]]] = {
    "chat": chat.build_graph,
    "planning": planning.build_graph,
    "analysis": analysis.build_graph,
    IMAGE: drawing.build_graph,
}
"""Every workflow by name: a new graph file is entered here."""

NAMES: Final = (*GRAPHS, AUTO)
"""What requests and profiles may name."""
TEAM: Final = "team"
"""The workflow of profiles that have a team; nobody else can name it."""

_OLD = """
    thread_id = %(thread)s AND checkpoint_id < (
        SELECT checkpoint_id FROM checkpoints
        WHERE thread_id = %(thread)s AND checkpoint_ns = '' AND metadata ->> 'source' = 'input'
        ORDER BY checkpoint_id DESC OFFSET %(before)s LIMIT 1
    )
    """
PRUNE: Final[tuple[LiteralString, ...]] = (
    f"DELETE FROM checkpoint_writes WHERE {_OLD}",
    f"DELETE FROM checkpoints WHERE {_OLD}",
    """
    DELETE FROM checkpoint_blobs b WHERE thread_id = %(thread)s AND NOT EXISTS (
        SELECT FROM checkpoints c
        WHERE c.thread_id = b.thread_id AND c.checkpoint_ns = b.checkpoint_ns
            AND c.checkpoint -> 'channel_versions' ->> b.channel = b.version
    )
    """,
)
"""
What the saver keeps of turns before the last ones. Its own `aprune` keeps one state alone, of which
nobody could go back to an earlier turn. Ids of checkpoints rise with time, those of subgraphs too.
"""


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
        # Nothing but plain data comes out of the database, whatever was written there.
        strict = JsonPlusSerializer(allowed_msgpack_modules=None, allowed_json_modules=None)
        self._checkpointer = AsyncPostgresSaver(database.pool, serde=strict)
        self._graphs: dict[tuple[str, bool], Graph] = {}

    def compose(self, name: str, *, checkpointed: bool) -> Graph:
        """Return the compiled graph; see `compose_workflow`."""
        build = team.build_graph if name == TEAM else GRAPHS.get(name)
        if build is None:
            raise NotFoundError("workflow", name)
        key = name, checkpointed
        if key not in self._graphs:
            saver = self._checkpointer if checkpointed else None
            self._graphs[key] = build().compile(checkpointer=saver, name=name)
        return self._graphs[key]

    async def forget(self, thread_id: UUID) -> None:
        """Delete the checkpoints of a conversation."""
        with self._database.guarded():
            await self._checkpointer.adelete_thread(str(thread_id))

    async def prune(self, thread_id: UUID, keep_turns: int) -> None:
        """Delete the steps of a conversation but for those of its last turns."""
        with self._database.guarded():
            async with self._database.pool.connection() as connection:
                for statement in PRUNE:
                    await connection.execute(
                        statement, {"thread": str(thread_id), "before": keep_turns - 1}
                    )


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
