"""Conversations and turns as programs see them: threads, and runs of threads."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from lab.db import Database, Stores
from lab.db.ids import new_id
from lab.db.runs import OPEN
from lab.errors import ConflictError, InputError, LabError, NotFoundError
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.conversation import Conversation
from lab.schemas.conversation_state import ConversationState
from lab.schemas.disconnect import Disconnect
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.if_not_exists import IfNotExists
from lab.schemas.multitask_strategy import MultitaskStrategy
from lab.schemas.on_completion import OnCompletion
from lab.schemas.run import Run
from lab.schemas.run_configurable import RunConfigurable
from lab.schemas.run_status import RunStatus
from lab.schemas.thread_run_request import ThreadRunRequest
from lab.schemas.user import User
from lab.workflows.answering import Answering
from lab.workflows.history import Histories, after
from lab.workflows.recording import Entry
from lab.workflows.resuming import turn_of
from lab.workflows.running import LiveRun, Running

TAGS = "tags"
"""Key of the details of a run under which its words are kept."""


class Threads:
    """
    Run turns of conversations for programs.

    Parameters
    ----------
    database : Database
        Where conversations are.
    answering : Answering
        Who answers.
    running : Running
        The runs that go on without their client.
    histories : Histories
        The states that conversations were in.
    """

    def __init__(
        self, database: Database, answering: Answering, running: Running, histories: Histories
    ) -> None:
        self._database = database
        self._answering = answering
        self._running = running
        self._histories = histories
        # Who begins a run looks first whether another one goes on.
        self._beginning: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
        self._stopping: set[asyncio.Task[Run]] = set()

    async def begin(
        self, owner: User, request: ThreadRunRequest, messages: Sequence[ChatMessage]
    ) -> Run:
        """
        Begin a run; it goes on, whoever follows it.

        Parameters
        ----------
        owner : User
            Who asks.
        request : ThreadRunRequest
            What to run, and where.
        messages : sequence of ChatMessage
            Its input.

        Raises
        ------
        NotFoundError
            If the thread is not the owner's, or was never in the state to run from.
        ConflictError
            If another run goes on in the thread, that state is not kept any more, or no run waits
            to be gone on with.
        InputError
            If there is nothing to run, or too much.
        LabError
            What refuses a turn.
        """
        _check(request, messages)
        if request.command is not None:
            live = await self._go_on(owner, request, request.command.resume)
        elif (checkpoint_id := checkpoint_of(request)) is not None:
            live = await self._begin_at(owner, request, messages, checkpoint_id)
        elif request.thread_id is None:
            live = await self._begin_without(owner, request, messages)
        else:
            turn = _turn(request, messages, request.thread_id)
            await self._answering.check(owner, turn)
            async with self._alone(owner, request):
                live = await self._answering.begin(owner, turn, _entry(request))
        return await self._begun(owner, live)

    async def create(
        self, owner: User, id: UUID | None, details: Mapping[str, Any], *, may_exist: bool
    ) -> Conversation:
        """
        Open a thread under an id that a program chose, or any.

        Raises
        ------
        ConflictError
            If the id is taken, or steps of a deleted conversation are still under it.
        """
        async with self._database.stores(owner.id) as stores:
            return await self._create(stores, id, details, may_exist=may_exist)

    async def run(self, owner: User, run_id: UUID, thread_id: UUID | None = None) -> Run:
        """
        Return a run, of a thread where one is named.

        Raises
        ------
        NotFoundError
            If it is not the owner's, or not of that thread.
        """
        async with self._database.stores(owner.id) as stores:
            run = await stores.runs.get(run_id)
        if thread_id is not None and run.conversation_id != thread_id:
            raise NotFoundError("run", run_id)
        return run

    async def delete_run(self, owner: User, run_id: UUID, thread_id: UUID | None = None) -> None:
        """
        Delete a run with its events and receipt; what was said stays.

        Raises
        ------
        NotFoundError
            If it is not the owner's, or not of that thread.
        ConflictError
            If it has not ended.
        """
        run = await self.run(owner, run_id, thread_id)
        if run.status in OPEN:
            raise ConflictError(f"The run {run_id} goes on; cancel it first.")
        async with self._database.stores(owner.id) as stores:
            await stores.runs.delete(run_id)

    def stop(self, owner: User, run_id: UUID) -> None:
        """Cancel a run whose client is gone, in the background."""
        stopping = self._running.stop(owner.id, run_id, RunStatus.cancelled)
        task = asyncio.create_task(stopping, name=f"cancel {run_id}")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _go_on(self, owner: User, request: ThreadRunRequest, reply: Any) -> LiveRun:
        """Go on with the last run of a thread, which waits; no other one is ended for that."""
        reject = {"multitask_strategy": MultitaskStrategy.reject}
        async with self._alone(owner, request.model_copy(update=reject)) as thread_id:
            left = await self._last(owner, thread_id)
            return await self._answering.resume(owner, left.id, reply, _entry(request))

    async def _begin_without(
        self, owner: User, request: ThreadRunRequest, messages: Sequence[ChatMessage]
    ) -> LiveRun:
        """Begin a run of no thread, or of a new one where it shall be kept."""
        is_kept = request.on_completion is OnCompletion.keep
        await self._answering.check(owner, _turn(request, messages, new_id() if is_kept else None))
        if not is_kept:
            turn = _turn(request, messages, None)
            return await self._answering.begin(owner, turn, _entry(request))
        async with self._database.stores(owner.id) as stores:
            thread = await stores.threads.create(None, {})
        async with self._unless_refused(owner, thread.id):
            turn = _turn(request, messages, thread.id)
            return await self._answering.begin(owner, turn, _entry(request))

    async def _begin_at(
        self,
        owner: User,
        request: ThreadRunRequest,
        messages: Sequence[ChatMessage],
        checkpoint_id: UUID,
    ) -> LiveRun:
        """Begin a run in a fork of a thread that begins at an earlier state of it."""
        assert request.thread_id is not None, "only a thread has states"
        state = await self._histories.state(owner, request.thread_id, checkpoint_id)
        if messages:
            turn, before = _turn(request, messages, request.thread_id), after(state.created_at)
        else:
            again, before = await self._turn_again(owner, state)
            turn = _as_asked(again, request)
        await self._answering.check(owner, turn)
        async with self._alone(owner, request) as thread_id:
            async with self._database.stores(owner.id) as stores:
                fork = await stores.forks.make(thread_id, before=before)
            async with self._unless_refused(owner, fork.id):
                turn = turn.model_copy(update={"conversation_id": fork.id})
                return await self._answering.begin(owner, turn, _entry(request))

    @asynccontextmanager
    async def _unless_refused(self, owner: User, thread_id: UUID) -> AsyncIterator[None]:
        """Delete a thread that was made for a run, if that one is refused."""
        try:
            yield
        except LabError:
            async with self._database.stores(owner.id) as stores:
                await stores.conversations.delete(thread_id)
            raise

    @asynccontextmanager
    async def _alone(self, owner: User, request: ThreadRunRequest) -> AsyncIterator[UUID]:
        """Yield the thread of a run while no other one can begin there."""
        assert request.thread_id is not None, "only a run of a thread waits for others"
        await self._find(owner, request.thread_id, request.if_not_exists)
        lock = self._beginning.setdefault(request.thread_id, asyncio.Lock())
        async with lock:
            await self._end_others(owner, request.thread_id, request.multitask_strategy)
            yield request.thread_id

    async def _find(self, owner: User, thread_id: UUID, if_not_exists: IfNotExists) -> None:
        async with self._database.stores(owner.id) as stores:
            if if_not_exists is IfNotExists.create:
                await self._create(stores, thread_id, {}, may_exist=True)
            else:
                await stores.conversations.get(thread_id)

    async def _create(
        self, stores: Stores, id: UUID | None, details: Mapping[str, Any], *, may_exist: bool
    ) -> Conversation:
        thread = await stores.threads.create(id, details, may_exist=may_exist)
        is_new = id is not None and not thread.n_messages
        has_run = is_new and await stores.threads.status(thread.id) is not None
        if is_new and not has_run and await self._histories.are_there(thread.id):
            raise ConflictError(
                f"Steps of a conversation that was deleted are under the id {id}; choose another, "
                "or none."
            )
        return thread

    async def _end_others(self, owner: User, thread_id: UUID, strategy: MultitaskStrategy) -> None:
        """Cancel what goes on in a thread, where that is asked."""
        await self._database.close_left_runs()
        if strategy is MultitaskStrategy.reject:
            async with self._database.stores(owner.id) as stores:
                await stores.threads.check_alone(thread_id)
            return
        async with self._database.stores(owner.id) as stores:
            going_on = await stores.threads.runs(
                conversation_id=thread_id, statuses=OPEN, limit=1000
            )
        for run in going_on:
            await self._running.stop(owner.id, run.id, RunStatus.cancelled)

    async def _last(self, owner: User, thread_id: UUID) -> Run:
        """Return the last run of a thread, to go on with."""
        async with self._database.stores(owner.id) as stores:
            found = await stores.threads.runs(conversation_id=thread_id, limit=1)
        if not found:
            raise ConflictError(f"No run of the thread {thread_id} waits for a reply.")
        return found[0]

    async def _turn_again(self, owner: User, state: ConversationState) -> tuple[ChatTurn, UUID]:
        """Return the turn that a state is of, with its seed, and its first message."""
        if not state.next:
            raise InputError(
                f"The turn of the state {state.checkpoint_id} had ended: there is nothing to run "
                "again. Give `input`, or an earlier state."
            )
        async with self._database.stores(owner.id) as stores:
            run = await stores.runs.get(state.run_id)
            turn, stored, _ = await turn_of(stores, run)
        seed = GenerationParameters.model_validate(run.parameters).seed
        given = turn.parameters or GenerationParameters()
        parameters = given.model_copy(update={"seed": seed})
        # What is set counts; a copy knows no other fields as set than those.
        values = {**parameters.model_dump(exclude_unset=True), "seed": seed}
        return (
            turn.model_copy(update={"parameters": GenerationParameters.model_validate(values)}),
            min(message.id for message in stored),
        )

    async def _begun(self, owner: User, live: LiveRun) -> Run:
        """Return a run that began; who leaves now cancels it."""
        try:
            return await self.run(owner, live.log.run_id)
        except BaseException:  # nobody knows of it yet
            self.stop(owner, live.log.run_id)
            raise


def details_of(request: ThreadRunRequest) -> Mapping[str, Any]:
    """Return what to keep with a run."""
    tags = request.config.tags if request.config else []
    return {**request.metadata, **({TAGS: tags} if tags else {})}


def checkpoint_of(request: ThreadRunRequest) -> UUID | None:
    """
    Return the state that a run begins from.

    Raises
    ------
    InputError
        If it is named twice, differently.
    """
    named = {request.checkpoint_id} | (
        {request.checkpoint.checkpoint_id} if request.checkpoint else set()
    )
    named.discard(None)
    if len(named) > 1:
        raise InputError("`checkpoint` and `checkpoint_id` name different states; give one.")
    return named.pop() if named else None


def _check(request: ThreadRunRequest, messages: Sequence[ChatMessage]) -> None:
    """Refuse what fits together with nothing."""
    is_from_state = checkpoint_of(request) is not None
    if request.thread_id is None:
        if request.command is not None or is_from_state:
            raise InputError("`command` and `checkpoint` are for runs of a thread; name one.")
    elif request.on_completion is OnCompletion.delete:
        raise InputError(
            "`on_completion`: a thread that was named is kept; delete it by itself, or run "
            "without a thread."
        )
    if request.command is not None:
        if messages or is_from_state:
            raise InputError("`command` goes on with a run; leave `input` and `checkpoint` out.")
        if request.config and request.config.configurable:
            raise InputError("`config.configurable`: a run goes on as it began; leave it out.")
    elif not messages and not is_from_state:
        raise InputError("There is nothing to run: give `input` or `messages`.")


def _entry(request: ThreadRunRequest) -> Entry:
    return Entry(details_of(request), alone=True)


def _as_asked(again: ChatTurn, request: ThreadRunRequest) -> ChatTurn:
    """Return a turn that is asked again, with what the request wants otherwise."""
    asked = _turn(request, again.messages, None)
    given = asked.parameters.model_dump(exclude_unset=True) if asked.parameters else {}
    before = again.parameters.model_dump(exclude_unset=True) if again.parameters else {}
    sections = {*again.settings, *asked.settings}
    settings = {
        name: {**again.settings.get(name, {}), **asked.settings.get(name, {})} for name in sections
    }
    return again.model_copy(
        update={
            "profile": asked.profile or again.profile,
            "parameters": GenerationParameters.model_validate({**before, **given}),
            "memory": again.memory if asked.memory is None else asked.memory,
            "settings": settings,
        }
    )


def _turn(
    request: ThreadRunRequest, messages: Sequence[ChatMessage], thread_id: UUID | None
) -> ChatTurn:
    config = (request.config and request.config.configurable) or RunConfigurable()
    return ChatTurn(
        profile=request.agent_id or request.assistant_id,
        messages=list(messages),
        conversation_id=thread_id,
        parameters=config.parameters,
        memory=config.memory,
        settings=config.settings,
        on_disconnect=Disconnect.continue_,
    )
