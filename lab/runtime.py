"""The composition root: opens database, models and graphs, and closes them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO
from uuid import UUID

from lab.catalog import Models
from lab.config import Settings
from lab.db import Database, Stores, open_database
from lab.db.cache import Cache, open_cache
from lab.db.export import open_export
from lab.errors import (
    NotFoundError,
    PermissionDeniedError,
)
from lab.pipelines import PipelineFactory, pipeline_factory
from lab.protocols import ChatPipeline
from lab.reading import Limits, Text, read
from lab.sandbox import PythonSandbox
from lab.schemas.chat_message import ChatMessage
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_update import ConversationUpdate
from lab.schemas.document_added import DocumentAdded
from lab.schemas.document_hit import DocumentHit
from lab.schemas.fact_hit import FactHit
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
from lab.schemas.web_search_request import WebSearchRequest
from lab.schemas.web_search_response import WebSearchResponse
from lab.web import Fetcher
from lab.workflows import Composer, initialize_composer
from lab.workflows.afterwards import Afterwards
from lab.workflows.answering import Answering
from lab.workflows.breakers import Breakers
from lab.workflows.composer import NAMES
from lab.workflows.documents import Documents, find_passages
from lab.workflows.dynamic_tools import DynamicTools
from lab.workflows.facts import find_facts
from lab.workflows.forgetting import Forgetting
from lab.workflows.history import Histories
from lab.workflows.images import ImageMaker
from lab.workflows.memories import correct
from lab.workflows.preferences import Preferences
from lab.workflows.profiles import Profiles
from lab.workflows.question import Question
from lab.workflows.recall import recall
from lab.workflows.research import OwnersResearch, Research
from lab.workflows.running import Running
from lab.workflows.speech import Speech
from lab.workflows.summaries import Job, Summariser
from lab.workflows.threads import Threads
from lab.workflows.tools import LabTool, Outcome, Toolbox, ToolContext
from lab.workflows.tools.built_in import BuiltIn
from lab.workflows.tools.in_sandbox import InSandbox
from lab.workflows.tools.mcp_servers import McpServers
from lab.workflows.tools.pictures import PictureTools
from lab.workflows.tools.web import WebTools
from lab.workflows.turns import Turns
from lab.workflows.web import Web
from lab.workflows.wordings import Wordings

READERS = 2
"""Files that are read at once: each takes a processor."""
LEARNED_FILE = "learned_limits.json"
"""In the data folder: what devices that ran out of memory were found to bear."""

RESUMED = timedelta(days=1)
"""How long after its last message a lab that starts looks at a conversation again."""


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
    preferences : Preferences
        What people have set.
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
    answering : Answering
        Who answers chat turns.
    forgetting : Forgetting
        Who deletes what was said, so that no step of a turn tells it.
    histories : Histories
        The states that conversations were in.
    threads : Threads
        Who runs turns for programs.
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
        # One at a time: each holds one of a few connections for long.
        self._exporting = asyncio.Lock()
        self._reading = asyncio.Semaphore(READERS)
        self.running = Running(database)
        self.models = Models(database, pipelines)
        self.profiles = Profiles(database, cache, pipelines)
        self.preferences = Preferences(settings, database, cache, self.profiles)
        self._wordings = Wordings(database, pipelines, self.preferences)
        self.sandbox = PythonSandbox(config.sandbox)
        self.dynamic_tools = DynamicTools(database, pipelines, self.sandbox, self.preferences)
        self.toolbox = Toolbox(
            [
                BuiltIn(),
                WebTools(self.web),
                InSandbox(self.sandbox, self.dynamic_tools),
                PictureTools(self.images, has_model=config.image.model is not None),
            ],
            cache,
            self.breakers,
            relayed=McpServers(config.mcp.servers),
        )
        self._summariser = Summariser(database, pipelines, self.preferences)
        self._afterwards = Afterwards(
            database, pipelines, composer, self.preferences, self._summariser
        )
        self.research = Research(
            database,
            pipelines,
            self.web,
            self.running,
            composer,
            config,
            self.preferences,
        )
        self.answering = Answering(
            database,
            pipelines,
            composer,
            self.preferences,
            self.breakers,
            self.toolbox,
            self.running,
            self._afterwards,
            Fetcher(config.web),
            config.limits.max_body_bytes,
            self.images,
            partial(OwnersResearch, self.research, self.running),
        )
        self.forgetting = Forgetting(database, composer)
        self.histories = Histories(database, composer)
        self.threads = Threads(database, self.answering, self.running, self.histories)

    async def store_messages(
        self, owner: User, conversation_id: UUID, messages: Sequence[ChatMessage]
    ) -> list[Message]:
        """Store turns that were said elsewhere, with their embeddings; nothing is generated."""
        messages = await self.answering.shown(messages)
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

    async def stop_run(self, owner: User, run_id: UUID, status: RunStatus) -> Run:
        """
        End a run that goes on by itself; one that has ended stays as it is.

        Parameters
        ----------
        owner : User
            Whose it is.
        run_id : UUID
            The run.
        status : RunStatus
            `cancelled`, or `interrupted` to go on with it later.

        Raises
        ------
        NotFoundError
            If the run is not the owner's.
        ConflictError
            If it ends with its connection, or is a turn that nobody could go on with.
        """
        async with self.database.stores(owner.id) as stores:
            run = await stores.runs.get(run_id)
        if run.kind is RunKind.research:
            return await self.research.stop_run(owner, run_id, status)
        if status is RunStatus.interrupted:
            return await self.answering.pause(owner, run_id)
        return await self.running.stop(owner.id, run_id, status)

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

    async def search_web(self, owner: User, request: WebSearchRequest) -> WebSearchResponse:
        """Return the pages that providers find for a query, in as many wordings as are wanted."""
        asked = request.wordings
        wordings = await self._wordings.of(owner, request.query, asked) if asked else []
        return await self.web.search(owner.id, request, wordings)

    async def correct_memory(self, owner: User, memory_id: UUID, text: str) -> Memory:
        """Put another text in the place of a memory's."""
        async with self.database.stores(owner.id) as stores:
            former = await stores.memories.get(memory_id)
        async with self.pipelines.embedding() as embedding:
            corrected = await correct(self.database, owner.id, embedding, memory_id, text)
        await self.forgetting.text(owner, former.conversation_id, former.text)
        return corrected

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
        config = (await self.preferences.settings_of(owner)).config
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

    async def retitle(self, owner: User, conversation_id: UUID) -> Conversation:
        """Name a conversation by what was said last in it."""
        return await self._afterwards.retitle(owner, conversation_id)

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

    async def tools(self, owner: User) -> list[OfferedTool]:
        """Return the tools that the lab can run for a user, by name."""
        enabled = (await self.preferences.settings_of(owner)).config.tools.enabled
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
        settings = await self.preferences.settings_of(owner)
        tools = await self.own_tools(owner, personal=personal)
        answered: list[ModelProfile] = []

        @asynccontextmanager
        async def chat() -> AsyncIterator[ChatPipeline]:
            profile = await self.preferences.profile(owner, settings)
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
        await self._afterwards.aclose()

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
            llama_cpp=config.llama_cpp,
        )
        stack.push_async_callback(pipelines.aclose)
        composer = await initialize_composer(database)
        runtime = Runtime(settings, database, cache, pipelines, composer)
        await runtime.models.load()
        pipelines.catalog.check_profiles(NAMES)
        stack.push_async_callback(runtime.aclose)
        await runtime.resume()
        yield runtime
