"""
Answer one chat turn.

    START -> remember -> assemble -> generate -> record -> END
                            ^            |          ^
                            +-- call_tools ---------+

`remember` stores the caller's messages before anything can fail, `assemble` builds the window,
`generate` streams the answer, `call_tools` runs what it calls of the lab's tools, once the user
has allowed what waits for that, and `record` stores all of it. Where the answer shall be refined,
it goes through the steps of `lab.workflows.refining` before it is recorded. Other graphs are made
of the same steps.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Any, Literal, TypedDict, TypeVar
from uuid import UUID

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from lab.pipelines.answer import Answer
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.member_receipt import MemberReceipt
from lab.schemas.message import Message
from lab.schemas.source_kind import SourceKind
from lab.schemas.tool import Tool
from lab.workflows.approval import decided
from lab.workflows.asking import ANEW, collected, spend, tell_stage
from lab.workflows.context import ChatContext
from lab.workflows.refining import add_refining, n_refinements, thoughts_of
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


S = TypeVar("S", bound="State")


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

    said: list[dict[str, Any]]
    """`ChatMessage` dumps that stand after the question, before the rounds."""

    drafts: list[dict[str, Any]]
    """`Draft` dumps: the answer, and what it was made into."""

    told: Annotated[list[dict[str, Any]], collected]
    """What finished steps told that a resumed turn tells again."""

    spent: Annotated[list[dict[str, Any]], collected]
    """`Usage` dumps of what was asked beside the answer."""

    members: Annotated[list[dict[str, Any]], collected]
    """`MemberReceipt` dumps of a team."""


async def remember(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the caller's messages with their embeddings."""
    # The state is that of the conversation: what the turn before left there is over.
    return _begun(state, await keep_question(runtime.context))


async def keep_question(context: ChatContext) -> Sequence[UUID]:
    """Store the caller's messages, once, and return them."""
    turn = context.turn
    if turn.conversation_id is None or not turn.store:
        return []
    if context.kept is not None:
        return context.kept
    if context.resumed is not None:  # killed between this step and its checkpoint
        return context.resumed.turn_ids
    _, history, question = split_question(turn.messages)
    stored = await context.turns.keep([*history, *question], context.run_id)
    _tell_stored(context, stored)
    return [message.id for message in stored]


def _begun(state: State, turn_ids: Sequence[UUID]) -> State:
    """Return the state after the first step; what the turn before left is gone."""
    ids = [str(id) for id in turn_ids]
    begun = State(turn_ids=ids, window=[], has_foreign=False, answer={}, rounds=[])
    # Most turns have none of these, and what is not changed is not stored again.
    if state.get("said") or state.get("drafts"):
        begun |= {"said": [], "drafts": []}
    if state.get("told") or state.get("spent"):
        begun |= {"told": [ANEW], "spent": [ANEW]}
    if state.get("members"):
        begun |= {"members": [ANEW]}
    return begun


async def assemble(state: State, runtime: Runtime[ChatContext]) -> State:
    """Choose what the model sees, and say why."""
    return await assembled(state, runtime.context)


async def assembled(state: State, context: ChatContext, room: int = 0) -> State:
    """Choose what the model sees, with so many tokens beside it, and say why."""
    rounds = rounds_of(state)
    tools, _ = _asked(context, rounds)
    said = [ChatMessage.model_validate(message) for message in state.get("said", [])]
    window = await build_window(context, current(state), [*said, *messages_of(rounds)], tools, room)
    members = [MemberReceipt.model_validate(one) for one in state.get("members", [])]
    members.sort(key=lambda one: _place(context, one))
    about = {"run_id": context.run_id, "route": context.route, "members": members}
    receipt = window.receipt.model_copy(update=about)
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
    if refines := n_refinements(context) > 0:
        tell_stage(context, "draft", 0, n_refinements(context))
    teller = Teller(context, rounds, must_answer=must_answer, is_draft=refines)
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
    if refines:
        return {"answer": {}, "drafts": [{"answer": answered}], "spent": spend(context, result)}
    tell_end(context, result, usage_of(rounds, result, context.spent))
    return {"answer": answered}


async def call_tools(state: State, runtime: Runtime[ChatContext]) -> State:
    """Run what the answer calls of the lab's tools."""
    context, rounds = runtime.context, rounds_of(state)
    answer = ChatResult.model_validate(state["answer"])
    answer, decision = decided(answer, state.get("waiting", []))
    tool_context = ToolContext(
        owner_id=context.owner_id,
        settings=context.settings,
        chat=context.chat.lease,
        embedding=lambda: nullcontext(context.embedding),
        stores=context.stores,
        conversation_id=context.turn.conversation_id,
        current=current(state),
    )
    await context.chat.let_go()  # a tool may need another model, or much time
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
        tell_end(context, answer, usage_of(rounds, spent=context.spent))
    return {"answer": {}, "rounds": [one.model_dump(mode="json") for one in rounds]}


async def record(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the answer with its embedding, and before it the rounds."""
    context, rounds = runtime.context, rounds_of(state)
    if context.resumed is not None and context.resumed.answered:  # killed before its checkpoint
        _tell_stored(context, context.resumed.answered)
        return {}
    if context.turn.store:
        result = ChatResult.model_validate(state["answer"]) if state["answer"] else None
        if result is not None:
            result = result.model_copy(update={"thinking": thoughts_of(state) + result.thinking})
        note(context, rounds)
        _tell_stored(context, await context.recorder.keep_answer(result))
    return {}


def calls_the_lab(
    state: State, runtime: Runtime[ChatContext]
) -> Literal["call_tools", "critique", "record"]:
    """Return where an answer leads."""
    if not state["answer"]:
        return "critique"
    answer = ChatResult.model_validate(state["answer"])
    return "call_tools" if run_by_lab(runtime.context, answer.tool_calls) else "record"


def waits_for_client(state: State) -> Literal["assemble", "record"]:
    """Return where a round leads: a client whose tools were called, too, has the word."""
    return "record" if rounds_of(state)[-1].waits_for_client else "assemble"


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = begin_graph(State)
    graph.add_edge("remember", "assemble")
    add_answering(graph)
    return graph


def begin_graph(state: type[S], last: Any = None) -> StateGraph[S, ChatContext]:
    """Return a graph of the first and the last step of every turn, with nothing in between."""
    graph = StateGraph(state, context_schema=ChatContext)
    graph.add_node("remember", remember)
    graph.add_node("record", last or record)
    graph.add_edge(START, "remember")
    graph.add_edge("record", END)
    return graph


def add_answering(graph: StateGraph[Any, ChatContext]) -> None:
    """Add the steps from `assemble` to `record`, by which the model answers in its own words."""
    graph.add_node("assemble", assemble)
    graph.add_node("generate", generate)
    graph.add_node("call_tools", call_tools)
    graph.add_edge("assemble", "generate")
    graph.add_conditional_edges("generate", calls_the_lab)
    graph.add_conditional_edges("call_tools", waits_for_client)
    add_refining(graph)


def current(state: State) -> list[UUID]:
    """Return the messages of the turn that are stored."""
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


def _place(context: ChatContext, seen: MemberReceipt) -> int:
    """Return which of the team a member is; one that left it meanwhile comes first."""
    names = [member.profile.id for member in context.members]
    return names.index(seen.profile) if seen.profile in names else -1


def _tell_stored(context: ChatContext, messages: Sequence[Message]) -> None:
    for message in messages:
        context.tell(EventType.message_stored, message_id=str(message.id), role=message.role.value)
