"""Compile graphs once and keep them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from psycopg.rows import tuple_row

from lab.db import Database
from lab.errors import NotFoundError
from lab.workflows import analysis, chat, drawing, investigating, planning, team
from lab.workflows.context import ChatContext
from lab.workflows.resuming import AUTO

Graph = CompiledStateGraph[Any, ChatContext]
TaskGraph = CompiledStateGraph[Any, Any]
"""Of work that has a context of its own."""

IMAGE: Final = "image"
"""The workflow that makes pictures, where the lab has a model for that."""

RESEARCH: Final = "research"
"""The workflow that answers with a report on pages of the web."""

GRAPHS: Mapping[str, Callable[[], StateGraph[Any, ChatContext]]] = {
    "chat": chat.build_graph,
    "planning": planning.build_graph,
    "analysis": analysis.build_graph,
    IMAGE: drawing.build_graph,
    RESEARCH: investigating.build_graph,
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

HOLD: Final[LiteralString] = """
    SELECT thread_id FROM checkpoint_blobs
    WHERE thread_id = ANY(%(threads)s) AND position(convert_to(%(text)s, 'UTF8') IN blob) > 0
    UNION
    SELECT thread_id FROM checkpoint_writes
    WHERE thread_id = ANY(%(threads)s) AND position(convert_to(%(text)s, 'UTF8') IN blob) > 0
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
        self._tasks: dict[str, TaskGraph] = {}

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

    async def steps(
        self,
        thread_id: UUID,
        *,
        checkpoint_id: UUID | None = None,
        before: UUID | None = None,
        limit: int | None = None,
    ) -> list[CheckpointTuple]:
        """
        Return the checkpoints of a conversation, newest first, whichever graph made them.

        Parameters
        ----------
        thread_id : UUID
            The conversation.
        checkpoint_id : UUID, optional
            This one alone.
        before : UUID, optional
            Only those before this one.
        limit : int, optional
            Most of them.
        """
        asked = {"thread_id": str(thread_id), "checkpoint_ns": ""}
        if checkpoint_id is not None:
            asked["checkpoint_id"] = str(checkpoint_id)
        earlier: RunnableConfig | None = (
            {"configurable": {"checkpoint_id": str(before)}} if before else None
        )
        with self._database.guarded():
            found = self._checkpointer.alist({"configurable": asked}, before=earlier, limit=limit)
            return [step async for step in found]

    async def first_step(self, thread_id: UUID) -> UUID | None:
        """Return the oldest checkpoint that is kept of a conversation."""
        with self._database.guarded():
            async with (
                self._database.pool.connection() as connection,
                connection.cursor(row_factory=tuple_row) as cursor,
            ):
                await cursor.execute(
                    "SELECT min(checkpoint_id) FROM checkpoints"
                    " WHERE thread_id = %s AND checkpoint_ns = ''",
                    [str(thread_id)],
                )
                row = await cursor.fetchone()
        return UUID(row[0]) if row and row[0] else None

    def compose_task(self, name: str, build: Callable[[], StateGraph[Any, Any]]) -> TaskGraph:
        """Return the compiled graph of work that is no turn of a chat; each step is kept."""
        if name not in self._tasks:
            self._tasks[name] = build().compile(checkpointer=self._checkpointer, name=name)
        return self._tasks[name]

    async def forget(self, thread_id: UUID) -> None:
        """Delete the checkpoints of a conversation, or of other work."""
        with self._database.guarded():
            await self._checkpointer.adelete_thread(str(thread_id))

    async def that_hold(self, thread_ids: Sequence[UUID], text: str) -> list[UUID]:
        """Return those of the conversations whose steps hold a text, which is kept as it is."""
        with self._database.guarded():
            async with (
                self._database.pool.connection() as connection,
                connection.cursor(row_factory=tuple_row) as cursor,
            ):
                await cursor.execute(
                    HOLD, {"threads": [str(id) for id in thread_ids], "text": text}
                )
                return [UUID(id) for (id,) in await cursor.fetchall()]

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
