"""
Let profiles answer first, and join what they say.

    START -> remember -> member (each a graph of its own) -> gather -> assemble -> ...
                            ^                                  |
                            +---- the next, in a series -------+

A member is a sub-graph, `assemble -> speak`, on its own model, with its own window, system prompt
and parameters. In `parallel` all work at once; in `series` each sees what those before it said. One
that fails says so in its place. From `assemble` on the team's own profile answers as in a chat,
with their answers after the question. No tools are called.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import perf_counter
from typing import Annotated, Any, Final, Literal, TypedDict
from uuid import UUID

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from lab.errors import ConflictError, LabError
from lab.prompts import SERIES_INSTRUCTION, TEAM_INSTRUCTION
from lab.schemas.chat_message import ChatMessage
from lab.schemas.event_type import EventType
from lab.schemas.member_receipt import MemberReceipt
from lab.schemas.role import Role
from lab.schemas.team_mode import TeamMode
from lab.schemas.usage import Usage
from lab.workflows import chat
from lab.workflows.asking import ANEW, ask, collected, spend, tell, tell_stage
from lab.workflows.context import ChatContext, Member
from lab.workflows.holding import held
from lab.workflows.rounds import shortened
from lab.workflows.window import build_window, room_beside

MOST_ANSWER_TOKENS: Final = 1024
"""Of a member, where nobody asked for another length."""
WINDOW: Final = ("context_length", "answer_tokens", "n_tokens", "items")
"""What the receipt of a team keeps of that of a member."""
LEAST_ANSWER_TOKENS: Final = 16
"""What an answer is cut to where the window is full."""


class State(chat.State, total=False):
    """What flows along the edges."""

    answers: Annotated[list[dict[str, Any]], collected]
    """Of the members, `{"name": ..., "text": ...}`."""

    mode: str
    """Of the team, as the turn began: it goes on so, whatever the profile says meanwhile."""


class Spoken(TypedDict, total=False):
    """What a member leaves behind."""

    answers: Annotated[list[dict[str, Any]], collected]
    told: Annotated[list[dict[str, Any]], collected]
    spent: Annotated[list[dict[str, Any]], collected]
    members: Annotated[list[dict[str, Any]], collected]


class Seat(Spoken, total=False):
    """What flows in the graph of a member."""

    place: int
    name: str
    """Of the member: the profile's team may be another when the turn goes on."""

    turn_ids: list[str]
    before: list[dict[str, Any]]
    """What others said."""

    window: list[dict[str, Any]]
    receipt: dict[str, Any]
    """Of that window."""

    failed: str
    """Why it has no window."""


async def assemble(state: Seat, runtime: Runtime[ChatContext]) -> Seat:
    """Choose what the member sees."""
    context = runtime.context
    member = _member_of(context, state["name"])
    try:
        async with _seated(context, member) as seat:
            said = _after(seat, state["before"], SERIES_INSTRUCTION) if state["before"] else []
            window = await build_window(seat, [UUID(id) for id in state["turn_ids"]], said, [])
    except LabError as error:
        return {"failed": str(error), "window": [], "receipt": {}}
    receipt = window.receipt.model_copy(update={"run_id": context.run_id})
    return {
        "failed": "",
        "window": [one.model_dump(mode="json") for one in window.messages],
        "receipt": receipt.model_dump(mode="json"),
    }


async def speak(state: Seat, runtime: Runtime[ChatContext]) -> Spoken:
    """Let the member answer."""
    context = runtime.context
    member = _member_of(context, state["name"])
    name, started, problem, text = member.profile.id, perf_counter(), state["failed"], ""
    messages = [ChatMessage.model_validate(message) for message in state["window"]]
    receipt = state["receipt"]
    told = tell(context, EventType.receipt, receipt=receipt, member=name) if receipt else []
    usage: Usage | None = None
    spent: list[dict[str, Any]] = []
    if not problem:
        try:
            async with _seated(context, member) as seat:
                most = member.parameters.max_new_tokens or MOST_ANSWER_TOKENS
                answer = await ask(seat, messages, most)
            text, usage = answer.content.strip(), answer.usage
            async with context.stores() as stores:
                await stores.usage.add(member.profile.model, name, usage, run_id=context.run_id)
            context.recorder.members.append(usage)
            spent = spend(context, answer)
        except LabError as error:
            problem = str(error)
    said = text if not problem else f"(could not answer: {problem})"
    told += tell(
        context,
        EventType.member,
        name=name,
        text=said,
        failed=bool(problem),
        seconds=round(perf_counter() - started, 3),
    )
    told += tell(context, EventType.thinking, text=f"{name}: {said}\n\n")
    told += tell_stage(context, name, state["place"] + 1, len(context.members))
    seen = _receipt_of(member, receipt, usage, problem)
    return {
        "answers": [{"name": name, "text": said}],
        "told": told,
        "spent": spent,
        "members": [seen.model_dump(mode="json")],
    }


async def gather(state: State, runtime: Runtime[ChatContext]) -> State:
    """Put what the members said after the question."""
    said = _after(runtime.context, state["answers"], TEAM_INSTRUCTION)
    return {"said": [message.model_dump(mode="json") for message in said]}


def seats(state: State, runtime: Runtime[ChatContext]) -> list[Send] | Literal["assemble"]:
    """Return who speaks next: all, one after the other, or nobody any more."""
    context, answers = runtime.context, state["answers"]
    spoken = {answer["name"] for answer in answers}
    left = [
        (place, member.profile.id)
        for place, member in enumerate(context.members)
        if member.profile.id not in spoken
    ]
    if not left:
        return "assemble"
    if state["mode"] == TeamMode.series:
        left = left[:1]
    return [
        Send("member", Seat(place=place, name=name, turn_ids=state["turn_ids"], before=answers))
        for place, name in left
    ]


async def begin(state: State, runtime: Runtime[ChatContext]) -> State:
    """Forget what the team said in the turn before."""
    context = runtime.context
    told = tell_stage(context, "team", 0, len(context.members))
    assert context.profile.team is not None, "who has no team has no members"
    return {"answers": [ANEW], "mode": context.profile.team.mode.value, "told": told}


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = chat.begin_graph(State)
    graph.add_node("begin", begin)
    graph.add_node("member", _member().compile(name="member"))
    graph.add_node("gather", gather)
    graph.add_edge("remember", "begin")
    graph.add_conditional_edges("begin", seats, ["member", "assemble"])
    graph.add_edge("member", "gather")
    graph.add_conditional_edges("gather", seats, ["member", "assemble"])
    chat.add_answering(graph)
    return graph


def _member() -> StateGraph[Seat, ChatContext, Seat, Spoken]:
    graph = StateGraph(Seat, context_schema=ChatContext, output_schema=Spoken)
    graph.add_node("assemble", assemble)
    graph.add_node("speak", speak)
    graph.add_edge(START, "assemble")
    graph.add_edge("assemble", "speak")
    graph.add_edge("speak", END)
    return graph


def _member_of(context: ChatContext, name: str) -> Member:
    """
    Return a member of the team by its name.

    Raises
    ------
    ConflictError
        If it left the team while the turn was interrupted.
    """
    for member in context.members:
        if member.profile.id == name:
            return member
    raise ConflictError(f"`{name}` is no member of the team any more; ask again.")


@asynccontextmanager
async def _seated(context: ChatContext, member: Member) -> AsyncIterator[ChatContext]:
    """Lease a member's model, and yield the run as the member has it."""
    with member.breaker.admitted():
        await context.chat.let_go()
        async with held(member.lease) as chat:
            await chat.prepare(context.turn.messages)
            yield replace(
                context,
                profile=member.profile,
                parameters=member.parameters,
                breaker=member.breaker,
                chat=chat,
                tools={},
                context_length=member.profile.context_length,
            )


def _receipt_of(
    member: Member, receipt: Mapping[str, Any], usage: Usage | None, problem: str
) -> MemberReceipt:
    """Return what a member saw, as far as it came, and what that used."""
    window = {key: receipt[key] for key in WINDOW if receipt}
    who = {"profile": member.profile.id, "model": member.profile.model}
    return MemberReceipt.model_validate({**who, **window, "usage": usage, "error": problem or None})


def _after(
    context: ChatContext, answers: Sequence[dict[str, Any]], instruction: str
) -> list[ChatMessage]:
    """Return what others said, cut to what the window holds, and what to do with it."""
    asked = ChatMessage(role=Role.user, content=instruction)
    room = room_beside(context, [ChatMessage(role=Role.assistant, content=""), asked])
    most = max(room // 2 // max(1, len(answers)), LEAST_ANSWER_TOKENS)
    text = "\n\n".join(f"{one['name']}: {shortened(context, one['text'], most)}" for one in answers)
    return [ChatMessage(role=Role.assistant, content=text), asked]
