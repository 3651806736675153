"""What a run depends on: typed, never stored in a checkpoint."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol
from uuid import UUID

from lab.config import Settings
from lab.db import Stores
from lab.protocols import EmbeddingPipeline
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.model_profile import ModelProfile
from lab.schemas.route import Route
from lab.schemas.route_source import RouteSource
from lab.schemas.tool import Tool
from lab.schemas.usage import Usage
from lab.workflows.breakers import Breaker
from lab.workflows.event_log import EventLog
from lab.workflows.given_history import GivenHistorySearch
from lab.workflows.holding import HeldChat, Leasing
from lab.workflows.images import ImageMaker
from lab.workflows.recording import Recorder
from lab.workflows.resuming import Resumed
from lab.workflows.shared_talk import Shared
from lab.workflows.tools import LabTool, Toolbox
from lab.workflows.turns import Turns

Told = tuple[EventType, dict[str, Any]]
"""What a node tells while it works; it becomes an event of the run."""


CHAT: Final = Route(workflow="chat", source=RouteSource.default)
"""How a turn is answered of which nobody says anything else."""


@dataclass(frozen=True)
class Member:
    """One of a team: what answers, and how its model is leased."""

    profile: ModelProfile
    parameters: GenerationParameters
    breaker: Breaker
    """Of its model."""

    lease: Leasing


class Researcher(Protocol):
    """The research tasks of one user."""

    async def begin(self, question: str, conversation_id: UUID) -> UUID:
        """Begin a task of a conversation; return its id."""
        ...

    def follow(self, task_id: UUID) -> AsyncGenerator[Event, None]:
        """Yield the events of a task until its run ends; one that was left is gone on with."""
        ...

    async def cancel(self, task_id: UUID) -> None:
        """Cancel a task."""
        ...

    async def report(self, task_id: UUID) -> str:
        """Return the report of a task as Markdown."""
        ...


@dataclass(frozen=True)
class ChatContext:
    """The models, the storage and the decisions of one chat turn."""

    log: EventLog
    """What happens in the run."""

    turn: ChatTurn
    profile: ModelProfile
    parameters: GenerationParameters
    """As used: profile, user and request merged, the seed drawn."""

    settings: Settings
    """With the user's layer on top."""

    chat: HeldChat
    """Let go wherever the turn waits for something else, which may need another model."""

    embedding: EmbeddingPipeline
    stores: Callable[[], AbstractAsyncContextManager[Stores]]
    """Opens a transaction on what the caller owns."""

    shared: Shared
    """What others share with the caller."""

    turns: Turns
    recorder: Recorder
    resumed: Resumed | None
    """What the turn goes on with; None for one that begins."""

    search_given: GivenHistorySearch
    """Finds turns in a history that the caller sent."""

    breaker: Breaker
    """Of the model."""

    toolbox: Toolbox
    tools: Mapping[str, LabTool] = field(default_factory=dict)
    """The lab's own tools that the model may call, by name."""

    stands_in_for: str | None = None
    """The profile that was asked for, where its model keeps failing."""

    context_length: int | None = None
    """Tokens of the window, where it is not the model's own."""

    route: Route = CHAT
    """By which workflow it is answered, and why."""

    find_route: "Callable[[ChatContext], Awaitable[tuple[Any, ChatContext]]] | None" = None
    """Stores the question and finds out what it wants: the graph, and the run with its route."""

    kept: Sequence[UUID] | None = None
    """Messages of the turn, where they were stored before its graph began."""

    images: ImageMaker | None = None
    """Makes pictures, where the workflow does."""

    research: Researcher | None = None
    """Answers questions by pages of the web, where the workflow does."""

    members: Sequence[Member] = ()
    """Of the team that answers first."""

    foreign: bool = True
    """Whether what others wrote may stand in the window: documents, and what people share."""

    spent: list[Usage] = field(default_factory=list)
    """What was asked beside the answer cost so far."""

    told: asyncio.Queue[Told | None] = field(default_factory=asyncio.Queue)
    """What the nodes told and nobody took yet; None once the graph has ended."""

    @property
    def run_id(self) -> UUID:
        """The run."""
        return self.log.run_id

    @property
    def owner_id(self) -> UUID:
        """Whose it is."""
        return self.log.owner_id

    @property
    def offered(self) -> Sequence[Tool]:
        """All tools that the model is told of: the client's, and the lab's."""
        return [*self.turn.tools, *(tool.tool for tool in self.tools.values())]

    @property
    def has_tools(self) -> bool:
        """Whether the turn began with tools of the lab, though all may be gone since."""
        return bool(self.tools) or (self.resumed is not None and bool(self.resumed.tools))

    @property
    def is_kept(self) -> bool:
        """Whether the turn is stored in a conversation."""
        return self.turn.store and self.turn.conversation_id is not None

    def without_foreign(self) -> "ChatContext":
        """Return the run with nothing in its window that others wrote."""
        return replace(self, foreign=False)

    def tell(self, type_: EventType, **data: Any) -> None:
        """Tell what happens, as it happens."""
        self.told.put_nowait((type_, data))
