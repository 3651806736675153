"""
Answer with the report of a research task on the question.

    START -> remember -> begin -> follow -> record -> END

The task is one like any other: it has a run of its own, which goes on where the turn is paused or
its process killed, and a turn that is gone on with follows it again. A turn that is cancelled
cancels it.
"""

import asyncio
from contextlib import aclosing
from uuid import UUID

from langgraph.graph import StateGraph
from langgraph.runtime import Runtime

from lab.errors import ConflictError, InputError, rebuild
from lab.schemas.event_type import EventType
from lab.schemas.run_status import RunStatus
from lab.workflows import chat
from lab.workflows.asking import tell_text
from lab.workflows.context import ChatContext, Researcher
from lab.workflows.window import split_question


class State(chat.State, total=False):
    """What flows along the edges."""

    task: str
    """Id of the research task."""


async def begin(state: State, runtime: Runtime[ChatContext]) -> State:
    """Begin the research."""
    context, researcher = runtime.context, _researcher(runtime.context)
    chat_id = context.turn.conversation_id
    if chat_id is None or not context.is_kept:
        raise InputError(
            "Research is stored: ask for it in a conversation, or by `lab research ask`."
        )
    _, _, asked = split_question(context.turn.messages)
    question = "\n".join(message.content or "" for message in asked).strip()
    if not question:
        raise InputError("Research needs a question in words.")
    return {"task": str(await researcher.begin(question, chat_id))}


async def follow(state: State, runtime: Runtime[ChatContext]) -> State:
    """Tell how far the research is, and answer with its report."""
    context, task_id = runtime.context, UUID(state["task"])
    researcher = _researcher(context)
    await context.chat.let_go()  # research has a model of its own
    try:
        async with aclosing(researcher.follow(task_id)) as events:
            async for event in events:
                match event.type:
                    case EventType.stage:
                        context.tell(EventType.stage, **event.data)
                    case EventType.run_failed:
                        raise rebuild(event.data["code"], event.data["message"])
                    case EventType.run_cancelled | EventType.run_interrupted:
                        raise ConflictError(
                            "The research was stopped; go on with it by "
                            f"`lab research resume {task_id}`."
                        )
                    case _:
                        pass
    except asyncio.CancelledError:
        if context.log.if_stopped is RunStatus.cancelled:
            await asyncio.shield(researcher.cancel(task_id))
        raise
    answer = tell_text(context, await researcher.report(task_id))
    return {"answer": answer.model_dump(mode="json")}


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = chat.begin_graph(State)
    graph.add_node("begin", begin)
    graph.add_node("follow", follow)
    graph.add_edge("remember", "begin")
    graph.add_edge("begin", "follow")
    graph.add_edge("follow", "record")
    return graph


def _researcher(context: ChatContext) -> Researcher:
    assert context.research is not None, "Answering gives it to every turn"
    return context.research
