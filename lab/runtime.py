"""The composition root: opens database, models and graphs, and closes them."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, Any
from uuid import UUID

import structlog
from pydantic import TypeAdapter

from lab.catalog import Models
from lab.config import Settings
from lab.db import Database, Stores, open_database
from lab.db.cache import Cache, open_cache
from lab.db.export import open_export
from lab.errors import (
    ConflictError,
    DatabaseError,
    LabError,
    NotFoundError,
    PermissionDeniedError,
    rebuild,
)
from lab.messages import n_pictures, text_of
from lab.pipelines import DEFAULT_PROFILE, PipelineFactory, pipeline_factory
from lab.pipelines.profiles import check_asked
from lab.profiles import Profiles
from lab.protocols import ChatPipeline
from lab.reading import Limits, Text, read
from lab.sandbox import PythonSandbox
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_update import ConversationUpdate
from lab.schemas.document_added import DocumentAdded
from lab.schemas.document_hit import DocumentHit
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.fact_hit import FactHit
from lab.schemas.generation_config import GenerationConfig
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.memory import Memory
from lab.schemas.memory_hit import MemoryHit
from lab.schemas.message import Message
from lab.schemas.model_profile import ModelProfile
from lab.schemas.offered_tool import OfferedTool
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.schemas.summary import Summary
from lab.schemas.tool_call import ToolCall
from lab.schemas.user import User
from lab.schemas.window import Window
from lab.schemas.window_request import WindowRequest
from lab.web import Fetcher
from lab.web.pictures import with_pictures
from lab.workflows import Composer, compose_workflow, execute_workflow, initialize_composer
from lab.workflows.breakers import Breakers
from lab.workflows.composer import GRAPHS
from lab.workflows.context import ChatContext
from lab.workflows.documents import Documents, find_passages
from lab.workflows.dynamic_tools import DynamicTools
from lab.workflows.event_log import EventLog
from lab.workflows.facts import find_facts
from lab.workflows.given_history import GivenHistorySearch
from lab.workflows.images import ImageMaker
from lab.workflows.memories import correct
from lab.workflows.question import Question
from lab.workflows.recall import recall
from lab.workflows.recording import Recorder
from lab.workflows.research import Research
from lab.workflows.resuming import Resumed, left_turn, resumed_turn
from lab.workflows.running import LiveRun, Running
from lab.workflows.shared_talk import Shared
from lab.workflows.speech import Speech
from lab.workflows.summaries import Job, Summariser
from lab.workflows.title import write_title
from lab.workflows.tools import LabTool, Outcome, Toolbox, ToolContext
from lab.workflows.tools.built_in import BuiltIn
from lab.workflows.tools.in_sandbox import InSandbox
from lab.workflows.tools.mcp_servers import McpServers
from lab.workflows.tools.offering import Wanted, wanted_tools
from lab.workflows.tools.web import WebTools
from lab.workflows.turns import Turns
from lab.workflows.web import Web
from lab.workflows.window import build_window

READERS = 2
"""Files that are read at once: each takes a processor."""
NEW_CHAT = "New chat"
"""Title of a conversation that nobody named yet."""

LEARNED_FILE = "learned_limits.json"
"""In the data folder: what devices that ran out of memory were found to bear."""

RESUMED = timedelta(days=1)
"""How long after its last message a lab that starts looks at a conversation again."""

_STORED = TypeAdapter(dict[str, Any])
"""Settings that a user changed, by section."""

logger = structlog.get_logger(__name__)


class Runtime:
    """
    A running lab without its faces; made by `open_runtime`.

    Attributes
    ----------
    settings : Settings
        Of this process, without a user's layer.
    database : Database
        What is remembered.
    cache : Cache
        Copies of what every request reads.
    pipelines : PipelineFactory
        How models run.
    composer : Composer
        The compiled graphs.
    models : Models
        Adds models and takes them out.
    profiles : Profiles
        What requests may name as their model.
    images : ImageMaker
        Who makes pictures.
    speech : Speech
        Who hears and speaks.
    web : Web
        Who reads and searches the web.
    sandbox : PythonSandbox
        Where code runs that nobody trusts.
    dynamic_tools : DynamicTools
        Tools that are written for users.
    breakers : Breakers
        Where it stands that a model or tool keeps failing.
    toolbox : Toolbox
        The tools that the lab runs itself.
    running : Running
        The runs that go on without their client.
    research : Research
        Who answers questions by pages of the web.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        cache: Cache,
        pipelines: PipelineFactory,
        composer: Composer,
    ) -> None:
        self.settings = settings
        self.database = database
        self.cache = cache
        self.pipelines = pipelines
        self.composer = composer
        config = settings.config
        self.images = ImageMaker(database, pipelines.images, config.image)
        self.speech = Speech(pipelines, config.transcription, config.speech)
        self.web = Web(database, pipelines, config)
        self.breakers = Breakers(config.breaker)
        self._search_given = GivenHistorySearch()
        self._fetcher = Fetcher(config.web)
        # One at a time: each holds one of a few connections for long.
        self._exporting = asyncio.Lock()
        self._reading = asyncio.Semaphore(READERS)
        self._background: set[asyncio.Task[None]] = set()
        self.running = Running(database)
        self.models = Models(database, pipelines)
        self.profiles = Profiles(database, cache, pipelines)
        self.sandbox = PythonSandbox(config.sandbox)
        self.dynamic_tools = DynamicTools(
            database,
            pipelines,
            self.sandbox,
            self.settings_of,
            self.profiles.resolve,
            _preferred,
        )
        self.toolbox = Toolbox(
            [BuiltIn(), WebTools(self.web), InSandbox(self.sandbox, self.dynamic_tools)],
            cache,
            self.breakers,
            relayed=McpServers(config.mcp.servers),
        )
        self.research = Research(
            database,
            pipelines,
            self.web,
            self.running,
            composer,
            config,
            self.settings_of,
            self.profiles.resolve,
            _preferred,
        )
        self._summariser = Summariser(
            database, pipelines, self.settings_of, self.profiles.resolve, _preferred
        )

    async def settings_of(self, owner: User) -> Settings:
        """Return the settings under the user's own."""

        async def stored() -> dict[str, Any]:
            async with self.database.stores(owner.id) as stores:
                return await stores.config.get()

        values = await self.cache.get(
            f"settings:{owner.id}", _STORED, stored, owner_of=lambda _: owner.id
        )
        return self.settings.under_user(values)

    async def begin(self, owner: User, turn: ChatTurn) -> LiveRun:
        """
        Begin to answer one turn; it goes on, whoever follows it.

        Raises
        ------
        LabError
            What `chat` raises before its first event.
        """
        log = EventLog(owner.id, whole=True, goes_on=True)
        return await self.running.begin(log, self.chat(owner, turn, log))

    async def resume_run(self, owner: User, run_id: UUID, reply: Any = None) -> LiveRun:
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

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If it cannot be gone on with: it ended otherwise, its question was not stored, the
            conversation went on, or it waits for an answer.
        """
        async with self.database.stores(owner.id) as stores:
            left = await left_turn(stores, run_id)
        profile = await self._profile(owner, left.turn, await self.settings_of(owner))
        graph = compose_workflow(self.composer, profile.workflow)
        with self.database.guarded():
            resumed = await resumed_turn(graph, left, reply)
        log = EventLog(owner.id, whole=True, goes_on=True)
        return await self.running.begin(log, self.chat(owner, left.turn, log, resumed))

    async def chat(
        self,
        owner: User,
        turn: ChatTurn,
        log: EventLog | None = None,
        resumed: Resumed | None = None,
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
        settings = await self._settings_for(owner, turn)
        kept = turn.store and turn.conversation_id is not None
        log = log or EventLog(owner.id, whole=kept)
        async with self._context(log, owner, turn, settings, resumed=resumed) as context:
            graph = compose_workflow(self.composer, context.profile.workflow, checkpointed=kept)
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
            self._after(owner, turn, settings, context.profile)

    async def pause_run(self, owner: User, run_id: UUID) -> Run:
        """
        Interrupt a turn that goes on by itself, to go on with it later.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If its question is not stored, and so nobody could.
        """
        async with self.database.stores(owner.id) as stores:
            run = await stores.runs.get(run_id)
        if run.kind is RunKind.research:
            return await self.research.stop_run(owner, run_id, RunStatus.interrupted)
        if run.asked is None:
            raise ConflictError(
                f"The run {run_id} is no turn of a stored conversation, which alone can be gone on "
                "with; cancel it."
            )
        return await self.running.stop(owner.id, run_id, RunStatus.interrupted)

    async def cancel_run(self, owner: User, run_id: UUID) -> Run:
        """
        Cancel a run that goes on by itself; one that has ended stays as it is.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If it ends with its connection.
        """
        async with self.database.stores(owner.id) as stores:
            run = await stores.runs.get(run_id)
        if run.kind is RunKind.research:
            return await self.research.stop_run(owner, run_id, RunStatus.cancelled)
        return await self.running.stop(owner.id, run_id, RunStatus.cancelled)

    async def window(self, owner: User, request: WindowRequest) -> Window:
        """
        Return what the model would see for a turn; nothing is generated, and nothing stored.

        Raises
        ------
        ContextLengthError
            If system prompt and question alone do not fit.
        LabError
            What `chat` raises before it answers.
        """
        turn = request.turn.model_copy(update={"store": False})
        settings = await self._settings_for(owner, turn)
        if turn.conversation_id is not None:
            async with self.database.stores(owner.id) as stores:
                await stores.conversations.get(turn.conversation_id)
        log = EventLog(owner.id, whole=False)
        async with self._context(log, owner, turn, settings, request.context_length) as context:
            return await build_window(context, current=[])

    async def store_messages(
        self, owner: User, conversation_id: UUID, messages: Sequence[ChatMessage]
    ) -> list[Message]:
        """Store turns that were said elsewhere, with their embeddings; nothing is generated."""
        messages = await self._shown(messages)
        async with self.pipelines.embedding() as embedding:
            turns = Turns(self.database, owner.id, conversation_id, embedding)
            stored = await turns.keep(messages)
        self._summariser.wake(Job(owner, conversation_id))
        return stored

    async def summarise(self, owner: User, conversation_id: UUID) -> list[Summary]:
        """Write every summary of a conversation that is due, and return those that stand."""
        async with self.database.stores(owner.id) as stores:
            await stores.conversations.get(conversation_id)
        await self._summariser.finish(Job(owner, conversation_id))
        async with self.database.stores(owner.id) as stores:
            return await stores.summaries.standing(conversation_id)

    async def resume(self) -> None:
        """
        Look at what a killed lab may have left undone: the conversations of the last day, research.

        Steps of turns whose conversation was deleted meanwhile are deleted too.
        """
        async with self.database.accounts() as accounts:
            await accounts.delete_lost()
            left = await accounts.conversations_since(datetime.now(UTC) - RESUMED)
        for owner, conversation_id in left:
            self._summariser.wake(Job(owner, conversation_id))
        await self.research.open()

    async def search_memories(self, owner: User, question: str, limit: int) -> list[MemoryHit]:
        """Return the owner's memories that bear on a question, best first."""
        async with self._searching(owner, question) as (stores, asked):
            return (await recall(stores, asked, top_k=limit)).hits

    async def search_facts(
        self,
        owner: User,
        question: str,
        limit: int,
        *,
        conversation_id: UUID | None = None,
        history: bool = False,
    ) -> list[FactHit]:
        """Return the owner's facts that bear on a question, best first."""
        async with self._searching(owner, question) as (stores, asked):
            if conversation_id is not None:
                await stores.conversations.get(conversation_id)
            return await find_facts(
                stores, asked, top_k=limit, conversation_id=conversation_id, history=history
            )

    async def correct_memory(self, owner: User, memory_id: UUID, text: str) -> Memory:
        """Put another text in the place of a memory's."""
        async with self.pipelines.embedding() as embedding:
            return await correct(self.database, owner.id, embedding, memory_id, text)

    async def add_document(self, owner: User, file: IO[bytes], name: str) -> DocumentAdded:
        """
        Read a file, cut its text into passages, embed them, and store all of it at once.

        Raises
        ------
        DocumentError
            If the file cannot be read, is too large, or says nothing.
        InputError
            If it has no proper name.
        """
        config = (await self.settings_of(owner)).config
        limits = Limits(
            max_pages=config.limits.max_document_pages,
            max_characters=config.limits.max_document_characters,
            timeout_s=config.limits.document_timeout_s,
        )

        async def read_within(file: IO[bytes], name: str) -> Text:
            async with self._reading:
                return await read(file, name, limits)

        async with self.pipelines.embedding() as embedding:
            documents = Documents(self.database, owner.id, embedding)
            return await documents.add(file, name, read_within, config.documents.chunk_tokens)

    async def search_documents(self, owner: User, question: str, limit: int) -> list[DocumentHit]:
        """Return the passages of the owner's documents that bear on a question, best first."""
        async with self._searching(owner, question) as (stores, asked):
            return await find_passages(stores, asked, top_k=limit)

    async def message(self, owner: User, conversation_id: UUID, message_id: UUID) -> Message:
        """Return a message of a conversation."""
        async with self.database.stores(owner.id) as stores:
            message = await stores.messages.get(message_id)
        if message.conversation_id != conversation_id:
            raise NotFoundError("message", message_id)
        return message

    async def change_conversation(
        self, owner: User, conversation_id: UUID, update: ConversationUpdate
    ) -> Conversation:
        """
        Give a conversation another title, share it with everybody in the lab, or end that.

        Raises
        ------
        PermissionDeniedError
            If it shall be shared and the operator does not let people share.
        """
        if update.shared and not self.settings.config.limits.sharing:
            raise PermissionDeniedError(
                "Conversations are not shared in this lab; ask its operator to let people share "
                "(`LAB_LIMITS_SHARING=true`)."
            )
        changes = update.model_dump(exclude_none=True)
        async with self.database.stores(owner.id) as stores:
            return await stores.conversations.update(conversation_id, **changes)

    async def delete_conversation(self, owner: User, conversation_id: UUID) -> None:
        """
        Delete a conversation with its messages, memories and checkpoints.

        Checkpoints go first, since no turn needs them: a process that is killed in between leaves
        none that nothing belongs to. Those that a turn under way writes go when it ends.
        """
        async with self.database.stores(owner.id) as stores:
            await stores.conversations.get(conversation_id)
        await self.composer.forget(conversation_id)
        async with self.database.stores(owner.id) as stores:
            await stores.conversations.delete(conversation_id)

    async def _forget_if_gone(self, owner: User, conversation_id: UUID) -> None:
        """Delete the steps of a turn whose conversation was deleted under it."""
        with suppress(DatabaseError):  # which is away: the next start does it
            try:
                async with self.database.stores(owner.id) as stores:
                    await stores.conversations.get(conversation_id)
            except NotFoundError:
                await self.composer.forget(conversation_id)

    async def tools(self, owner: User) -> list[OfferedTool]:
        """Return the tools that the lab can run for a user, by name."""
        enabled = (await self.settings_of(owner)).config.tools.enabled
        found = await self.toolbox.all(owner.id)
        return [
            OfferedTool(
                **tool.tool.model_dump(), enabled=name in enabled, personal=tool.traits.personal
            )
            for name, tool in sorted(found.items())
        ]

    async def own_tools(self, owner: User, *, personal: bool) -> dict[str, LabTool]:
        """Return the lab's own tools, those that work on what is stored only where they may."""
        found = await self.toolbox.own(owner.id)
        return {n: tool for n, tool in found.items() if personal or not tool.traits.personal}

    async def call_tool(self, owner: User, call: ToolCall, *, personal: bool) -> Outcome:
        """Run one of the lab's own tools for a program, outside of a chat."""
        settings = await self.settings_of(owner)
        tools = await self.own_tools(owner, personal=personal)
        answered: list[ModelProfile] = []

        @asynccontextmanager
        async def chat() -> AsyncIterator[ChatPipeline]:
            profile = await self.profiles.resolve(owner, _preferred(settings))
            answered.append(profile)
            leased = self.pipelines.chat(profile.model, purpose="tool", owner=owner.id)
            async with leased as pipeline:
                yield pipeline

        context = ToolContext(
            owner_id=owner.id,
            settings=settings,
            chat=chat,
            embedding=self.pipelines.embedding,
            stores=partial(self.database.stores, owner.id),
        )
        outcome = await self.toolbox.run(call, tools, context)
        async with self.database.stores(owner.id) as stores:
            for usage in context.spent:
                profile = answered[-1]  # what was spent was spent by a model
                await stores.usage.add(profile.model, profile.id, usage)
        return outcome

    async def export(self, owner: User) -> IO[bytes]:
        """Return an archive of what a user owns, as a file that is gone when it is closed."""
        async with self._exporting:
            return await open_export(self.database, owner, self.settings.data_folder)

    async def aclose(self) -> None:
        """End the runs, and wait for what is in the background; the next start goes on with it."""
        await self.research.aclose()
        await self.running.aclose()
        await self._summariser.aclose()
        await asyncio.gather(*self._background, return_exceptions=True)

    @asynccontextmanager
    async def _searching(
        self, owner: User, question: str
    ) -> AsyncIterator[tuple[Stores, Question]]:
        """Open a transaction on what a user owns, with a question that is embedded already."""
        async with self.pipelines.embedding() as embedding:
            asked = Question(question, embedding)
            await asked.vector()  # so that no transaction waits for it
            async with self.database.stores(owner.id) as stores:
                yield stores, asked

    @asynccontextmanager
    async def _context(
        self,
        log: EventLog,
        owner: User,
        turn: ChatTurn,
        settings: Settings,
        context_length: int | None = None,
        resumed: Resumed | None = None,
    ) -> AsyncIterator[ChatContext]:
        """Lease the models of a turn and yield what its run depends on."""
        asked = await self._profile(owner, turn, settings)
        profile = await self._stand_in(owner, asked, settings)
        parameters = resumed.parameters if resumed else _parameters(profile, settings, turn)
        self._check_asked(profile, parameters, turn)
        model = self.pipelines.catalog.chat_model(profile.model)
        turn = turn.model_copy(update={"messages": await self._shown(turn.messages)})
        if resumed is None:
            wanted = wanted_tools(turn, profile, settings, parameters, model)
        else:
            wanted = Wanted(resumed.tools, is_asked=False, turn=turn)
        tools = await self.toolbox.named(owner.id, wanted.names, strict=wanted.is_asked)
        breaker = self.breakers.of("model", profile.model)
        async with AsyncExitStack() as stack:
            stack.enter_context(breaker.admitted())
            embedding = await stack.enter_async_context(self.pipelines.embedding())
            with breaker.counting(is_whole=False):
                leased = self.pipelines.chat(profile.model, owner=owner.id)
                chat = await stack.enter_async_context(leased)
            await chat.prepare(turn.messages)
            turns = Turns(self.database, owner.id, turn.conversation_id, embedding)
            yield ChatContext(
                log=log,
                turn=turn,
                profile=profile,
                parameters=parameters,
                settings=settings,
                chat=chat,
                embedding=embedding,
                stores=partial(self.database.stores, owner.id),
                shared=Shared(self.database, owner.id),
                turns=turns,
                recorder=Recorder(self.database, log, turns, profile),
                resumed=resumed,
                search_given=self._search_given,
                breaker=breaker,
                toolbox=self.toolbox,
                tools=wanted.offered(tools),
                stands_in_for=asked.id if profile is not asked else None,
                context_length=context_length or profile.context_length,
            )

    async def _stand_in(self, owner: User, asked: ModelProfile, settings: Settings) -> ModelProfile:
        """Return who answers in the place of a profile whose model keeps failing."""
        fallback = settings.config.roles.fallback
        if fallback is None or not self.breakers.of("model", asked.model).refuses:
            return asked
        return await self.profiles.resolve(owner, fallback)

    async def _settings_for(self, owner: User, turn: ChatTurn) -> Settings:
        """Return the settings of a turn: the user's, under what the turn asks for."""
        settings = (await self.settings_of(owner)).overlay("request", turn.settings)
        return settings.overlay("request", _asked(turn))

    async def _profile(self, owner: User, turn: ChatTurn, settings: Settings) -> ModelProfile:
        if turn.profile:
            return await self.profiles.resolve(owner, turn.profile)
        try:
            return await self.profiles.resolve(owner, _preferred(settings))
        except LabError as error:
            what = f"`roles.primary` cannot answer: {error} Choose another: `lab models use NAME`."
            raise rebuild(error.code, what) from error

    def _check_asked(
        self, profile: ModelProfile, parameters: GenerationParameters, turn: ChatTurn
    ) -> None:
        """Refuse what the model cannot do, before anything is loaded."""
        model = self.pipelines.catalog.chat_model(profile.model)
        check_asked(
            model, parameters, n_tools=len(turn.tools), n_pictures=n_pictures(turn.messages)
        )

    async def _shown(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """Return messages with their pictures, fetched where only their address came."""
        most = self.settings.config.limits.max_body_bytes
        return await with_pictures(messages, self._fetcher, most)

    def _after(
        self, owner: User, turn: ChatTurn, settings: Settings, profile: ModelProfile
    ) -> None:
        if turn.conversation_id is None:
            return
        if turn.store:
            self._summariser.wake(Job(owner, turn.conversation_id, profile.id))
            keep = settings.config.workflow.keep_turns
            self._in_background(self._prune(turn.conversation_id, keep))
        if not settings.config.workflow.auto_title:
            return
        wanted = settings.config.roles.analysis or profile.id
        self._in_background(self._name(owner, turn.conversation_id, wanted))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _prune(self, conversation_id: UUID, keep_turns: int) -> None:
        try:
            await self.composer.prune(conversation_id, keep_turns)
        except LabError as error:  # the next turn does it
            logger.warning("steps stay", conversation_id=str(conversation_id), error=str(error))

    async def _name(self, owner: User, conversation_id: UUID, wanted: str) -> None:
        """Give a new conversation a title by a profile; it keeps its old one when that fails."""
        try:
            async with self.database.stores(owner.id) as stores:
                conversation = await stores.conversations.get(conversation_id)
                if conversation.title != NEW_CHAT:
                    return
                first = await stores.messages.list(conversation_id, before_position=2)
            profile = await self.profiles.resolve(owner, wanted)
            async with self.pipelines.chat(profile.model, purpose="title", owner=owner.id) as chat:
                said = [ChatMessage(role=m.role, content=text_of(m.parts)) for m in first]
                title, usage = await write_title(chat, said)
            async with self.database.stores(owner.id) as stores:
                if usage is not None:
                    await stores.usage.add(profile.model, profile.id, usage)
                current = await stores.conversations.get(conversation_id)
                if title and current.title == NEW_CHAT:
                    await stores.conversations.update(conversation_id, title=title)
        except LabError as error:
            logger.warning("no title", conversation_id=str(conversation_id), error=str(error))


@asynccontextmanager
async def open_runtime(
    settings: Settings, on_import: Callable[[], object] = lambda: None
) -> AsyncIterator[Runtime]:
    """
    Open the database (the embedded one when no URL is set), the models and the graphs.

    Parameters
    ----------
    settings : Settings
        Of this process.
    on_import : callable
        Called in a thread after a model's libraries were imported.

    Raises
    ------
    DatabaseError
        If the database cannot be started, reached or migrated.
    """
    config = settings.config
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings))
        await stack.enter_async_context(database.attended())
        cache = await stack.enter_async_context(open_cache(config.cache, database))
        pipelines = pipeline_factory(
            config.chat,
            config.embedding,
            config.residency,
            image=config.image,
            rerank=config.rerank,
            transcription=config.transcription,
            speech=config.speech,
            on_import=on_import,
            learned_file=settings.data_folder / LEARNED_FILE,
            remotes=config.remotes,
            vllm=config.vllm,
        )
        stack.push_async_callback(pipelines.aclose)
        composer = await initialize_composer(database)
        runtime = Runtime(settings, database, cache, pipelines, composer)
        await runtime.models.load()
        pipelines.catalog.check_profiles(GRAPHS)
        stack.push_async_callback(runtime.aclose)
        await runtime.resume()
        yield runtime


def _preferred(settings: Settings) -> str:
    """Return the profile of a user who asks for none."""
    return settings.config.roles.primary or DEFAULT_PROFILE


def _asked(turn: ChatTurn) -> dict[str, dict[str, Any]]:
    """Return the settings that a turn overrides, as a layer."""
    sampling = set(GenerationConfig.model_fields)
    given = (
        turn.parameters.model_dump(include=sampling, exclude_unset=True) if turn.parameters else {}
    )
    layer = {"generation": given, "memory": {"enabled": turn.memory}}
    return {s: v for s, v in layer.items() if any(value is not None for value in v.values())}


def _parameters(profile: ModelProfile, settings: Settings, turn: ChatTurn) -> GenerationParameters:
    """Merge profile, user and request; draw the seed when nobody set one."""
    user = settings.config.generation.model_dump(exclude_none=True)
    user["guards"] = settings.config.guards
    merged = {
        **(profile.parameters.model_dump(exclude_unset=True) if profile.parameters else {}),
        **user,
        **(turn.parameters.model_dump(exclude_unset=True) if turn.parameters else {}),
    }
    merged = {key: value for key, value in merged.items() if value is not None}
    return GenerationParameters.model_validate({"seed": secrets.randbits(32), **merged})
