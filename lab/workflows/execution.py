"""Run a graph and turn what its nodes tell into a stream of events."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Durability

from lab.errors import INTERRUPTED, LabError, NotFoundError, UnavailableError
from lab.pipelines.answer import Answer
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.event import Event
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.guard import Guard
from lab.schemas.run_status import RunStatus
from lab.schemas.usage import Usage
from lab.texts import storable
from lab.workflows.composer import Graph
from lab.workflows.context import ChatContext, Told
from lab.workflows.resuming import TURN, check_turn
from lab.workflows.retelling import retell

log = structlog.get_logger(__name__)


async def execute_workflow(graph: Graph, context: ChatContext) -> AsyncGenerator[Event, None]:
    """
    Run a workflow and yield its events as they happen.

    The last event says how the run ended. An error ends it with `run_failed` instead of being
    raised; one that nobody foresaw is logged, and the caller gets the run's id to name. Closing the
    generator stops the run: the model's place is free at once, and what was answered so far is
    stored.

    Parameters
    ----------
    graph : Graph
        From `compose_workflow`.
    context : ChatContext
        What the run depends on.
    """
    run = _Run(context)
    try:
        await context.recorder.start(
            context.parameters.model_dump(mode="json"),
            context.turn,
            context.resumed.tools if context.resumed else list(context.tools),
            context.resumed,
            context.route,
        )
        yield run.tell(
            EventType.run_started,
            profile=context.profile.id,
            model=context.chat.model.id,
            seed=context.parameters.seed,
            conversation_id=_text(context.turn.conversation_id),
            tools=list(context.tools),
            workflow=context.route.workflow,
            stands_in_for=context.stands_in_for,
        )
        thread = context.turn.conversation_id or context.run_id
        config: RunnableConfig = {
            "configurable": {"thread_id": str(thread)},
            "metadata": {TURN: str(context.resumed.run_id if context.resumed else context.run_id)},
        }
        with context.recorder.guarded():
            async with aclosing(_told(graph, config, context)) as told:
                async for type_, data in told:
                    yield run.tell(type_, **data)
        yield await run.complete()
    except _AsksError as asks:
        yield await run.interrupt(asks.questions)
    except LabError as error:
        yield await run.fail(error)
    except Exception as error:
        log.error("run failed", run_id=str(context.run_id), exc_info=error)
        message = f"The lab failed to answer; give the operator this run id: {context.run_id}."
        yield await run.fail(LabError(message))
    except (asyncio.CancelledError, GeneratorExit):
        await asyncio.shield(run.stop())
        raise


async def _told(
    graph: Graph, config: RunnableConfig, context: ChatContext
) -> AsyncGenerator[Told, None]:
    """
    Run a graph and yield what its nodes tell, as they do.

    A queue of our own: LangGraph's custom stream takes a task and four turns of the event loop for
    each token, which a single stream would wait for.
    """
    running = asyncio.create_task(_invoke(graph, config, context))
    running.add_done_callback(lambda _: context.told.put_nowait(None))
    try:
        while (told := await context.told.get()) is not None:
            yield told
        state = await running
        if asks := state.get("__interrupt__"):
            raise _AsksError([{"id": ask.id, "value": ask.value} for ask in asks])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _invoke(graph: Graph, config: RunnableConfig, context: ChatContext) -> Mapping[str, Any]:
    """Run a graph from its beginning, or on from where a resumed turn stood."""
    begin: Any = {}
    if context.find_route is not None:
        graph, context = await context.find_route(context)
    if (resumed := context.resumed) is None or not resumed.is_begun:
        pass
    else:
        await retell(context, resumed.state)
        await check_turn(graph, config, resumed.run_id)
        begin = Command(resume=resumed.reply) if resumed.asks else None
    durability: Durability | None = "sync" if graph.checkpointer else None
    found = await graph.ainvoke(begin, config, context=context, durability=durability)
    return found or {}


class _AsksError(Exception):
    """A step asks somebody something, and the graph waits."""

    def __init__(self, questions: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.questions = questions


class _Run:
    """The events of a run, and how it ends."""

    def __init__(self, context: ChatContext) -> None:
        self._context = context
        self._answer = Answer()
        self._usage: Usage | None = None

    def tell(self, type_: EventType, **data: Any) -> Event:
        self._follow(type_, data)
        return self._context.log.tell(type_, data)

    async def complete(self) -> Event:
        result = self._answer.result()
        stopped = {"guard": result.guard.value} if result.guard else {}
        reason = result.finish_reason.value
        event = self.tell(EventType.run_completed, finish_reason=reason, **stopped)
        finishing = self._context.recorder.finish(RunStatus.completed, usage=result.usage)
        await self._end(event, finishing)
        return event

    async def fail(self, error: LabError) -> Event:
        message = storable(str(error))
        event = self.tell(
            EventType.run_failed, code=error.code, status=error.status, message=message
        )
        await self._end(event, self._close(RunStatus.failed, message))
        return event

    async def stop(self) -> None:
        """Close a run that is stopped from outside; one that has ended stays as it is."""
        if self._context.log.has_ended:
            return
        match self._context.log.if_stopped:
            case RunStatus.interrupted:
                await self.interrupt([])
            case status:
                self.tell(EventType.run_cancelled)
                await self._close(status, None)

    async def interrupt(self, asks: Sequence[Mapping[str, Any]]) -> Event:
        """Close a run that can be gone on with; its answer so far is none yet."""
        event = self.tell(EventType.run_interrupted, **({"asks": asks} if asks else {}))
        error = None if asks else INTERRUPTED
        await self._end(event, self._close(RunStatus.interrupted, error, keep=False))
        return event

    async def _end(self, event: Event, closing: Awaitable[None]) -> None:
        """Close the run; an end that is not stored, and was not heard of, is none."""
        try:
            await closing
        except BaseException:
            self._context.log.take_back(event)
            raise

    async def _close(self, status: RunStatus, error: str | None, *, keep: bool = True) -> None:
        """
        Store what there is, each step whatever became of the one before.

        A database that is away cannot be told, but the caller can.
        """
        recorder = self._context.recorder
        self._take_untold()
        if keep and self._context.turn.store:
            await self._try("answer not kept", recorder.keep_answer(self._answer.result()))
        finishing = recorder.finish(status, usage=self._usage or recorder.usage, error=error)
        failure = await self._try("run not finished", finishing)
        if failure is not None and not isinstance(failure, UnavailableError | NotFoundError):
            await self._try("run not closed", recorder.close(status, error))

    async def _try(self, problem: str, step: Awaitable[object]) -> Exception | None:
        """Take a step of closing; return why it failed, having logged it."""
        run_id = str(self._context.run_id)
        try:
            await step
        except LabError as failure:
            log.warning(problem, run_id=run_id, error=str(failure))
            return failure
        except Exception as failure:
            log.error(problem, run_id=run_id, exc_info=failure)
            return failure
        return None

    def _take_untold(self) -> None:
        """Take what the nodes told and no client was there for: it was answered all the same."""
        while not self._context.told.empty():
            if (told := self._context.told.get_nowait()) is not None:
                self._follow(*told)

    def _follow(self, type_: EventType, data: dict[str, Any]) -> None:
        """Collect the answer that is stored if the run is cancelled: the first of several."""
        if data.get("index"):
            return
        match type_:
            case EventType.content:
                self._answer.add(ChatDelta(content=data["text"]))
            case EventType.thinking:
                self._answer.add(ChatDelta(thinking=data["text"]))
            case EventType.tool_started:
                self._answer = Answer()  # what was said before is kept with its call
            case EventType.usage:
                self._usage = Usage.model_validate(data["usage"])
                self._answer.add(
                    ChatDelta(
                        usage=self._usage,
                        finish_reason=FinishReason(data["finish_reason"]),
                        guard=Guard(data["guard"]) if "guard" in data else None,
                    )
                )
            case _:
                pass


def _text(value: object) -> str | None:
    return None if value is None else str(value)
