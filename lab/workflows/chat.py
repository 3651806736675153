"""
Answer one chat turn.

    START -> remember -> assemble -> generate -> record -> END

`remember` stores the caller's messages before anything can fail, `assemble` builds the window,
`generate` streams the answer, `record` stores it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict
from uuid import UUID

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from lab.pipelines.answer import Answer
from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.workflows.context import ChatContext
from lab.workflows.window import build_window, split_question


class State(TypedDict, total=False):
    """What flows along the edges: plain data, since it is checkpointed."""

    turn_ids: list[str]
    """Messages of the current turn that are stored."""

    window: list[dict[str, Any]]
    """`ChatMessage` dumps put before the model."""

    answer: dict[str, Any]
    """`ChatResult` dump."""


async def remember(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the caller's messages with their embeddings."""
    turn = runtime.context.turn
    if turn.conversation_id is None or not turn.store:
        return _begun([])
    resumed = runtime.context.resumed
    if resumed is not None:  # killed between this step and its checkpoint
        return _begun(resumed.turn_ids)
    _, history, question = split_question(turn.messages)
    stored = await runtime.context.turns.keep([*history, *question], runtime.context.run_id)
    for message in stored:
        _tell_stored(runtime.context, message)
    return _begun([message.id for message in stored])


def _begun(turn_ids: Sequence[UUID]) -> State:
    """Return the state after the first step; what the turn before left is gone."""
    return {"turn_ids": [str(id) for id in turn_ids], "window": [], "answer": {}}


async def assemble(state: State, runtime: Runtime[ChatContext]) -> State:
    """Choose what the model sees, and say why."""
    context = runtime.context
    window = await build_window(context, [UUID(i) for i in state["turn_ids"]])
    receipt = window.receipt.model_copy(update={"run_id": context.run_id})
    await context.recorder.keep_receipt(receipt)
    context.tell(EventType.receipt, receipt=receipt.model_dump(mode="json"))
    return {"window": [message.model_dump(mode="json") for message in window.messages]}


async def generate(state: State, runtime: Runtime[ChatContext]) -> State:
    """Stream the answer."""
    context = runtime.context
    messages = [ChatMessage.model_validate(message) for message in state["window"]]
    answer = Answer()
    async for delta in context.chat.stream(
        messages, context.parameters, tools=context.turn.tools, owner=context.owner_id
    ):
        answer.add(delta)
        _tell_delta(context, delta)
    result = answer.result()
    _tell_end(context, result)
    kept = result.model_dump(mode="json", exclude={"logprobs", "alternatives"})
    return {"answer": kept}


async def record(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the answer with its embedding."""
    resumed = runtime.context.resumed
    if resumed is not None and resumed.answer_id is not None:
        context = runtime.context
        context.tell(
            EventType.message_stored, message_id=str(resumed.answer_id), role=Role.assistant.value
        )
        return {}
    if runtime.context.turn.store:
        result = ChatResult.model_validate(state["answer"])
        message = await runtime.context.recorder.keep_answer(result)
        if message is not None:
            _tell_stored(runtime.context, message)
    return {}


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = StateGraph(State, context_schema=ChatContext)
    graph.add_node("remember", remember)
    graph.add_node("assemble", assemble)
    graph.add_node("generate", generate)
    graph.add_node("record", record)
    graph.add_edge(START, "remember")
    graph.add_edge("remember", "assemble")
    graph.add_edge("assemble", "generate")
    graph.add_edge("generate", "record")
    graph.add_edge("record", END)
    return graph


async def retell(context: ChatContext, state: Mapping[str, Any]) -> None:
    """
    Tell what the finished steps of a resumed turn told, so that its stream is whole.

    Parameters
    ----------
    context : ChatContext
        Of the run that goes on.
    state : mapping
        What those steps returned; empty where none was finished.
    """
    resumed = context.resumed
    if state.get("window") and resumed is not None and resumed.receipt is not None:
        receipt = resumed.receipt.model_copy(update={"run_id": context.run_id})
        await context.recorder.keep_receipt(receipt)
        context.tell(EventType.receipt, receipt=receipt.model_dump(mode="json"))
    if state.get("answer"):
        result = ChatResult.model_validate(state["answer"])
        for delta in _deltas(result):
            _tell_delta(context, delta)
        _tell_end(context, result)


def _deltas(result: ChatResult) -> Iterator[ChatDelta]:
    """Yield an answer as a stream that comes in one piece."""
    if result.thinking:
        yield ChatDelta(thinking=result.thinking)
    for call in result.tool_calls:
        yield ChatDelta(tool_call=call)
    if result.content:
        yield ChatDelta(content=result.content)


def _tell_stored(context: ChatContext, message: Message) -> None:
    context.tell(EventType.message_stored, message_id=str(message.id), role=message.role.value)


def _tell_delta(context: ChatContext, delta: ChatDelta) -> None:
    about: dict[str, Any] = {"index": delta.index} if delta.index else {}
    if delta.logprobs:
        about["logprobs"] = [token.model_dump(mode="json") for token in delta.logprobs]
    if delta.thinking:
        context.tell(EventType.thinking, text=delta.thinking, **about)
    elif delta.tool_call is not None:
        context.tell(
            EventType.tool_call, tool_call=delta.tool_call.model_dump(mode="json"), **about
        )
    elif delta.tool_call_delta is not None:
        piece = delta.tool_call_delta.model_dump(mode="json")
        context.tell(EventType.tool_call_delta, tool_call_delta=piece, **about)
    elif delta.content or delta.logprobs:
        context.tell(EventType.content, text=delta.content, **about)


def _tell_end(context: ChatContext, result: ChatResult) -> None:
    """Tell what the answer cost, why it ended, and why the further ones did."""
    ends = [_end(choice) for choice in [result, *result.alternatives]]
    further = {"alternatives": ends[1:]} if result.alternatives else {}
    context.tell(EventType.usage, usage=result.usage.model_dump(mode="json"), **ends[0], **further)


def _end(choice: ChatResult) -> dict[str, str]:
    end = {"finish_reason": choice.finish_reason.value}
    return end if choice.guard is None else {**end, "guard": choice.guard.value}
