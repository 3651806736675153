"""Answer chat turns: what each needs is found, leased and given to its graph."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from lab.config import Settings
from lab.db import Database
from lab.errors import ConflictError, DatabaseError, NotFoundError
from lab.pipelines import PipelineFactory
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.route import Route
from lab.schemas.run import Run
from lab.schemas.run_status import RunStatus
from lab.schemas.user import User
from lab.schemas.window import Window
from lab.schemas.window_request import WindowRequest
from lab.web import Fetcher
from lab.web.pictures import with_pictures
from lab.workflows.afterwards import Afterwards
from lab.workflows.answerers import Answerers
from lab.workflows.asking import tell_route
from lab.workflows.breakers import Breakers
from lab.workflows.chat import keep_question
from lab.workflows.composer import IMAGE, TEAM, Composer, Graph, compose_workflow
from lab.workflows.context import CHAT, ChatContext, Researcher
from lab.workflows.event_log import EventLog
from lab.workflows.execution import execute_workflow
from lab.workflows.given_history import GivenHistorySearch
from lab.workflows.holding import held
from lab.workflows.images import ImageMaker
from lab.workflows.preferences import Preferences
from lab.workflows.recording import ENTRY, Entry, Recorder
from lab.workflows.resuming import AUTO, Resumed, left_turn, resumed_turn
from lab.workflows.routing import Router, named
from lab.workflows.running import LiveRun, Running
from lab.workflows.shared_talk import Shared
from lab.workflows.tools import Toolbox
from lab.workflows.turns import Turns
from lab.workflows.window import build_window


class Answering:
    """
    Answer chat turns.

    Parameters
    ----------
    database : Database
        What is remembered.
    pipelines : PipelineFactory
        How models run.
    composer : Composer
        The compiled graphs.
    preferences : Preferences
        What people have set.
    breakers : Breakers
        Where it stands that a model or tool keeps failing.
    toolbox : Toolbox
        The tools that the lab runs itself.
    running : Running
        The runs that go on without their client.
    afterwards : Afterwards
        What is done after a turn.
    fetcher : Fetcher
        Fetches pictures of which the address came.
    max_bytes : int
        The most bytes of such a picture.
    images : ImageMaker
        Makes pictures.
    research_of : callable
        Returns the research of a user.
    """

    def __init__(
        self,
        database: Database,
        pipelines: PipelineFactory,
        composer: Composer,
        preferences: Preferences,
        breakers: Breakers,
        toolbox: Toolbox,
        running: Running,
        afterwards: Afterwards,
        fetcher: Fetcher,
        max_bytes: int,
        images: ImageMaker,
        research_of: Callable[[User], Researcher],
    ) -> None:
        self._database = database
        self._pipelines = pipelines
        self._composer = composer
        self._breakers = breakers
        self._toolbox = toolbox
        self._running = running
        self._afterwards = afterwards
        self._fetcher = fetcher
        self._max_bytes = max_bytes
        self._images = images
        self._research_of = research_of
        self._router = Router(database, pipelines, preferences, breakers, images)
        self._answerers = Answerers(pipelines, preferences, breakers, toolbox)
        self._search_given = GivenHistorySearch()

    async def check(self, owner: User, turn: ChatTurn) -> None:
        """
        Refuse a turn that nobody can answer, before anything is done for it.

        Raises
        ------
        LabError
            What `stream` raises before a model is loaded.
        """
        settings = await self._answerers.settings(owner, turn)
        plan = await self._answerers.plan(owner, turn, settings, None)
        plan.wanted.offered(plan.tools)

    async def begin(self, owner: User, turn: ChatTurn, entry: Entry = ENTRY) -> LiveRun:
        """
        Begin to answer one turn; it goes on, whoever follows it.

        Parameters
        ----------
        owner : User
            Who asks.
        turn : ChatTurn
            What is asked.
        entry : Entry
            How the run is entered.

        Raises
        ------
        LabError
            What `stream` raises before its first event.
        """
        log = EventLog(owner.id, whole=True, goes_on=True)
        return await self._running.begin(log, self.stream(owner, turn, log, entry=entry))

    async def resume(
        self, owner: User, run_id: UUID, reply: Any = None, entry: Entry = ENTRY
    ) -> LiveRun:
        """
        Go on with an interrupted turn after its last finished step; none runs a second time.

        Parameters
        ----------
        owner : User
            Whose it is.
        run_id : UUID
            The run, which stays as it is: a new one goes on.
        reply : object, optional
            The answer to what the turn asks.
        entry : Entry
            How the new run is entered.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If it cannot be gone on with: it ended otherwise, its question was not stored, the
            conversation went on, or it waits for an answer.
        """
        async with self._database.stores(owner.id) as stores:
            left = await left_turn(stores, run_id)
        name = CHAT.workflow if left.route.workflow == AUTO else left.route.workflow
        graph = compose_workflow(self._composer, name)
        with self._database.guarded():
            resumed = await resumed_turn(graph, left, reply)
        log = EventLog(owner.id, whole=True, goes_on=True)
        events = self.stream(owner, left.turn, log, resumed, entry)
        return await self._running.begin(log, events)

    async def stream(
        self,
        owner: User,
        turn: ChatTurn,
        log: EventLog | None = None,
        resumed: Resumed | None = None,
        entry: Entry = ENTRY,
    ) -> AsyncGenerator[Event, None]:
        """
        Answer one turn; yield events as they happen, the last says how it ended.

        Closing the generator cancels the turn and frees the model's place at once.

        Parameters
        ----------
        owner : User
            Who asks.
        turn : ChatTurn
            What is asked.
        log : EventLog, optional
            Where it is told; by default one that stores the answer's stream where the answer is
            stored too.
        resumed : Resumed, optional
            What the turn goes on with.
        entry : Entry
            How its run is entered.

        Raises
        ------
        UnknownModelError
            If the profile is unknown.
        NotFoundError
            If the conversation is not the owner's.
        ModelLoadError
            If the model cannot be loaded.
        LockedKeyError
            If the turn overrides a setting that the operator locked.
        InputError
            If the turn names tools of the lab that there are not, or that it cannot have.
        BreakerOpenError
            If the model keeps failing and nobody stands in.
        """
        settings = await self._answerers.settings(owner, turn)
        kept = turn.store and turn.conversation_id is not None
        log = log or EventLog(owner.id, whole=kept)
        async with self._context(
            log, owner, turn, settings, resumed=resumed, entry=entry
        ) as leased:
            context = await self._routed(owner, leased)
            graph = self._graph(context)
            completed = False
            try:
                async with aclosing(execute_workflow(graph, context)) as events:
                    async for event in events:
                        completed = event.type is EventType.run_completed
                        yield event
            finally:
                if turn.conversation_id is not None and not completed:
                    await asyncio.shield(self._forget_if_gone(owner, turn.conversation_id))
        if completed:
            self._afterwards.look_after(owner, turn, settings, context.profile)

    async def pause(self, owner: User, run_id: UUID) -> Run:
        """
        Interrupt a turn that goes on by itself, to go on with it later.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If its question is not stored, and so nobody could.
        """
        async with self._database.stores(owner.id) as stores:
            run = await stores.runs.get(run_id)
        if run.asked is None:
            raise ConflictError(
                f"The run {run_id} is no turn of a stored conversation, which alone can be gone on "
                "with; cancel it."
            )
        return await self._running.stop(owner.id, run_id, RunStatus.interrupted)

    async def window(self, owner: User, request: WindowRequest) -> Window:
        """
        Return what the model would see for a turn; nothing is generated, and nothing stored.

        Raises
        ------
        ContextLengthError
            If system prompt and question alone do not fit.
        LabError
            What `stream` raises before it answers.
        """
        turn = request.turn.model_copy(update={"store": False})
        settings = await self._answerers.settings(owner, turn)
        if turn.conversation_id is not None:
            async with self._database.stores(owner.id) as stores:
                await stores.conversations.get(turn.conversation_id)
        log = EventLog(owner.id, whole=False)
        async with self._context(log, owner, turn, settings, request.context_length) as context:
            window = await build_window(context, current=[])
        route = named(context.turn, context.profile, context.settings, context.parameters)
        if route.workflow == AUTO:  # which a model would be asked for
            return window
        receipt = window.receipt.model_copy(update={"route": route})
        return window.model_copy(update={"receipt": receipt})

    async def shown(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """Return messages with their pictures, fetched where only their address came."""
        return await with_pictures(messages, self._fetcher, self._max_bytes)

    async def _forget_if_gone(self, owner: User, conversation_id: UUID) -> None:
        """Delete the steps of a turn whose conversation was deleted under it."""
        with suppress(DatabaseError):  # which is away: the next start does it
            try:
                async with self._database.stores(owner.id) as stores:
                    await stores.conversations.get(conversation_id)
            except NotFoundError:
                await self._composer.forget(conversation_id)

    @asynccontextmanager
    async def _context(
        self,
        log: EventLog,
        owner: User,
        turn: ChatTurn,
        settings: Settings,
        context_length: int | None = None,
        resumed: Resumed | None = None,
        entry: Entry = ENTRY,
    ) -> AsyncIterator[ChatContext]:
        """Lease the models of a turn and yield what its run depends on."""
        plan = await self._answerers.plan(owner, turn, settings, resumed)
        profile = plan.profile
        turn = turn.model_copy(update={"messages": await self.shown(turn.messages)})
        breaker = self._breakers.of("model", profile.model)
        async with AsyncExitStack() as stack:
            stack.enter_context(breaker.admitted())
            embedding = await stack.enter_async_context(self._pipelines.embedding())
            with breaker.counting(is_whole=False):
                lease = partial(self._pipelines.chat, profile.model, owner=owner.id)
                chat = await stack.enter_async_context(held(lease))
            await chat.prepare(turn.messages)
            turns = Turns(self._database, owner.id, turn.conversation_id, embedding)
            yield ChatContext(
                log=log,
                turn=turn,
                profile=profile,
                parameters=plan.parameters,
                settings=settings,
                chat=chat,
                embedding=embedding,
                stores=partial(self._database.stores, owner.id),
                shared=Shared(self._database, owner.id),
                turns=turns,
                recorder=Recorder(self._database, log, turns, profile, entry),
                resumed=resumed,
                search_given=self._search_given,
                breaker=breaker,
                toolbox=self._toolbox,
                tools=plan.wanted.offered(plan.tools),
                stands_in_for=plan.stands_in_for,
                context_length=context_length or profile.context_length,
            )

    async def _routed(self, owner: User, context: ChatContext) -> ChatContext:
        """Return what a run depends on, with its workflow, or with what will find it."""
        if context.resumed is not None:
            route = context.resumed.route
        else:
            route = named(context.turn, context.profile, context.settings, context.parameters)
        if route.workflow == AUTO:
            # The run is open, and the question stored, before a model is asked for its intent.
            return replace(context, route=route, find_route=partial(self._found, owner))
        routed = await self._prepared(owner, context, route)
        if context.resumed is None:
            tell_route(routed)
        return routed

    async def _found(self, owner: User, context: ChatContext) -> tuple[Graph, ChatContext]:
        """Store the question, and find out by which graph it is answered."""
        kept = await keep_question(context)
        route = await self._router.told(owner, context)
        await context.recorder.keep_route(route, kept)
        routed = await self._prepared(owner, replace(context, kept=kept, find_route=None), route)
        tell_route(routed)
        return self._graph(routed), routed

    async def _prepared(self, owner: User, context: ChatContext, route: Route) -> ChatContext:
        """Return what a run depends on, with what its workflow needs."""
        if route.workflow == IMAGE:
            self._images.check_ready()
        else:
            self._answerers.check(context.profile, context.parameters, context.turn)
        tools = context.tools if route.workflow == CHAT.workflow else {}
        members = await self._answerers.members(owner, context) if route.workflow == TEAM else []
        return replace(
            context,
            route=route,
            tools=tools,
            members=members,
            images=self._images,
            research=self._research_of(owner),
        )

    def _graph(self, context: ChatContext) -> Graph:
        """Return the graph of a turn; the chat's until it has a workflow."""
        name = CHAT.workflow if context.route.workflow == AUTO else context.route.workflow
        kept = context.turn.store and context.turn.conversation_id is not None
        return compose_workflow(self._composer, name, checkpointed=kept)
