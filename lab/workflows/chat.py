"""
Answer one chat turn.

    START -> remember -> assemble -> generate -> record -> END
                            ^            |          ^
                            +-- call_tools ---------+

`remember` stores the caller's messages before anything can fail, `assemble` builds the window,
`generate` streams the answer, `call_tools` runs what it calls of the lab's tools, once the user
has allowed what waits for that, and `record` stores all of it.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, TypedDict
from uuid import UUID

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from lab.pipelines.answer import Answer
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.message import Message
from lab.schemas.source_kind import SourceKind
from lab.schemas.tool import Tool
from lab.workflows.approval import decided
from lab.workflows.context import ChatContext
from lab.workflows.rounds import (
    Round,
    messages_of,
    note,
    rounds_of,
    run_by_lab,
    run_round,
    to_be_allowed,
    usage_of,
)
from lab.workflows.telling import Teller, as_text, tell_end
from lab.workflows.tools import ToolContext
from lab.workflows.window import build_window, split_question

NOT_KEPT = {"logprobs", "alternatives"}
"""What of an answer is told and not stored."""


class State(TypedDict, total=False):
    """What flows along the edges: plain data, since it is checkpointed."""

    turn_ids: list[str]
    """Messages of the current turn that are stored."""

    window: list[dict[str, Any]]
    """`ChatMessage` dumps put before the model."""

    has_foreign: bool
    """Whether it saw passages of documents in this turn, which others may have written."""

    answer: dict[str, Any]
    """`ChatResult` dump; empty when it stands in the last round."""

    waiting: list[str]
    """Ids of its calls, if any, that wait for the user: decided once, whatever is set meanwhile."""

    rounds: list[dict[str, Any]]
    """`Round` dumps."""


async def remember(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the caller's messages with their embeddings."""
    turn = runtime.context.turn
    # The state is that of the conversation: what the turn before left there is over.
    if turn.conversation_id is None or not turn.store:
        return _begun([])
    resumed = runtime.context.resumed
    if resumed is not None:  # killed between this step and its checkpoint
        return _begun(resumed.turn_ids)
    _, history, question = split_question(turn.messages)
    stored = await runtime.context.turns.keep([*history, *question], runtime.context.run_id)
    _tell_stored(runtime.context, stored)
    return _begun([message.id for message in stored])


def _begun(turn_ids: Sequence[UUID]) -> State:
    """Return the state after the first step; what the turn before left is gone."""
    ids = [str(id) for id in turn_ids]
    return {"turn_ids": ids, "window": [], "has_foreign": False, "answer": {}, "rounds": []}


async def assemble(state: State, runtime: Runtime[ChatContext]) -> State:
    """Choose what the model sees, and say why."""
    context, rounds = runtime.context, rounds_of(state)
    tools, _ = _asked(context, rounds)
    window = await build_window(context, _current(state), messages_of(rounds), tools)
    receipt = window.receipt.model_copy(update={"run_id": context.run_id})
    await context.recorder.keep_receipt(receipt)
    context.tell(EventType.receipt, receipt=receipt.model_dump(mode="json"))
    shows = any(i.included and i.kind is SourceKind.document for i in receipt.items)
    return {
        "window": [message.model_dump(mode="json") for message in window.messages],
        "has_foreign": shows or state.get("has_foreign", False),
    }


async def generate(state: State, runtime: Runtime[ChatContext]) -> State:
    """Stream the answer."""
    context, rounds = runtime.context, rounds_of(state)
    messages = [ChatMessage.model_validate(message) for message in state["window"]]
    tools, parameters = _asked(context, rounds)
    must_answer = bool(rounds) and rounds[-1].is_last
    teller = Teller(context, rounds, must_answer=must_answer)
    answer = Answer()
    with context.breaker.counting():
        async for delta in context.chat.stream(
            messages, parameters, tools=tools, owner=context.owner_id
        ):
            context.breaker.succeed()  # so that nobody waits for the end of a first try
            answer.add(delta)
            teller.tell(delta)
    result = answer.result()
    if must_answer:
        result = as_text(context, result)
    answered = result.model_dump(mode="json", exclude=NOT_KEPT)
    if run_by_lab(context, result.tool_calls):
        return {"answer": answered, "waiting": to_be_allowed(context, rounds, result)}
    tell_end(context, result, usage_of(rounds, result))
    return {"answer": answered}


async def call_tools(state: State, runtime: Runtime[ChatContext]) -> State:
    """Run what the answer calls of the lab's tools."""
    context, rounds = runtime.context, rounds_of(state)
    answer = ChatResult.model_validate(state["answer"])
    answer, decision = decided(answer, state.get("waiting", []))
    tool_context = ToolContext(
        owner_id=context.owner_id,
        settings=context.settings,
        chat=lambda: nullcontext(context.chat),
        embedding=lambda: nullcontext(context.embedding),
        stores=context.stores,
        conversation_id=context.turn.conversation_id,
        current=_current(state),
    )
    shown = [ChatMessage.model_validate(message) for message in state["window"]]
    has_foreign = state.get("has_foreign", False)
    rounds.append(
        await run_round(
            context,
            rounds,
            answer,
            tool_context,
            shown,
            has_foreign=has_foreign,
            decision=decision,
        )
    )
    note(context, rounds)
    if rounds[-1].waits_for_client:
        tell_end(context, answer, usage_of(rounds))
    return {"answer": {}, "rounds": [one.model_dump(mode="json") for one in rounds]}


async def record(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the answer with its embedding, and before it the rounds."""
    context, rounds = runtime.context, rounds_of(state)
    if context.resumed is not None and context.resumed.answered:  # killed before its checkpoint
        _tell_stored(context, context.resumed.answered)
        return {}
    if context.turn.store:
        result = ChatResult.model_validate(state["answer"]) if state["answer"] else None
        note(context, rounds)
        _tell_stored(context, await context.recorder.keep_answer(result))
    return {}


def calls_the_lab(state: State, runtime: Runtime[ChatContext]) -> Literal["call_tools", "record"]:
    """Return where an answer leads."""
    answer = ChatResult.model_validate(state["answer"])
    return "call_tools" if run_by_lab(runtime.context, answer.tool_calls) else "record"


def waits_for_client(state: State) -> Literal["assemble", "record"]:
    """Return where a round leads: a client whose tools were called, too, has the word."""
    return "record" if rounds_of(state)[-1].waits_for_client else "assemble"


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = StateGraph(State, context_schema=ChatContext)
    graph.add_node("remember", remember)
    graph.add_node("assemble", assemble)
    graph.add_node("generate", generate)
    graph.add_node("call_tools", call_tools)
    graph.add_node("record", record)
    graph.add_edge(START, "remember")
    graph.add_edge("remember", "assemble")
    graph.add_edge("assemble", "generate")
    graph.add_conditional_edges("generate", calls_the_lab)
    graph.add_conditional_edges("call_tools", waits_for_client)
    graph.add_edge("record", END)
    return graph


def _current(state: State) -> list[UUID]:
    return [UUID(id_) for id_ in state["turn_ids"]]


def _asked(
    context: ChatContext, rounds: Sequence[Round]
) -> tuple[Sequence[Tool], GenerationParameters]:
    """Return what the model is told of and asked for in a round."""
    if not rounds:
        return context.offered, context.parameters
    # A call that had to be made was made in the first round.
    parameters = context.parameters.model_copy(update={"tool_choice": None})
    return context.turn.tools if rounds[-1].is_last else context.offered, parameters


def _tell_stored(context: ChatContext, messages: Sequence[Message]) -> None:
    for message in messages:
        context.tell(EventType.message_stored, message_id=str(message.id), role=message.role.value)
