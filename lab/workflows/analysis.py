"""
Analyse a question: look at its aspects at once, weigh what was found, and answer.

    START -> remember -> look -> split -> look_at (each aspect) -> weigh -> assemble -> ...

From `assemble` on it goes as in a chat, with the notes after the question. No tools are called.
"""

from typing import Annotated, Any, Final, TypedDict

from langgraph.graph import StateGraph
from langgraph.runtime import Runtime
from langgraph.types import Send

from lab.errors import ContextLengthError, LabError, ServiceError
from lab.prompts import (
    ASPECT_INSTRUCTION,
    ASPECTS_INSTRUCTION,
    JOIN_INSTRUCTION,
    WEIGH_INSTRUCTION,
)
from lab.schemas.chat_message import ChatMessage
from lab.schemas.event_type import EventType
from lab.schemas.role import Role
from lab.workflows import chat
from lab.workflows.asking import (
    ANEW,
    ask,
    ask_form,
    collected,
    instructed,
    object_of,
    room_for,
    spend,
    tell,
    tell_stage,
)
from lab.workflows.context import ChatContext
from lab.workflows.rounds import shortened
from lab.workflows.window import build_window, room_beside

WHOLE: Final = "the whole"
"""The one aspect of a question that the model did not split."""
MOST_ASPECT_CHARACTERS: Final = 100
MOST_ASPECT_TOKENS: Final = 32
"""That an aspect takes of what is asked about it."""
MOST_SPLIT_TOKENS: Final = 400
MOST_NOTE_TOKENS: Final = 400
LEAST_NOTE_TOKENS: Final = 16
"""What a note is cut to where the window is full."""
LEAST_WEIGHED_TOKENS: Final = 64


class State(chat.State, total=False):
    """What flows along the edges."""

    aspects: list[str]
    notes: Annotated[list[dict[str, Any]], collected]
    """What was found about each aspect, `{"aspect": ..., "text": ...}`."""

    weighed: str
    """What is wrong with the notes."""


class Look(TypedDict):
    """What one look at an aspect is given."""

    window: list[dict[str, Any]]
    aspect: str
    place: int
    n_aspects: int


async def look(state: State, runtime: Runtime[ChatContext]) -> chat.State:
    """Choose what the model sees while it analyses."""
    context = runtime.context
    most = context.settings.config.workflow.max_aspects
    asked = (ASPECTS_INSTRUCTION.format(most=most), ASPECT_INSTRUCTION)
    room = max(room_for(context, one, MOST_NOTE_TOKENS) for one in asked)
    return await chat.assembled(state, context, room + MOST_ASPECT_TOKENS)


async def split(state: State, runtime: Runtime[ChatContext]) -> State:
    """Let the model name the aspects of the question; where it names none there is one."""
    context = runtime.context
    most = context.settings.config.workflow.max_aspects
    told = tell_stage(context, "split", 0, 1)
    prompt = instructed(state["window"], ASPECTS_INSTRUCTION.format(most=most))
    items = {"type": "string", "minLength": 1, "maxLength": MOST_ASPECT_CHARACTERS}
    form = object_of(aspects={"type": "array", "minItems": 1, "maxItems": most, "items": items})
    spent: list[dict[str, Any]] = []
    try:
        named, answer = await ask_form(context, prompt, MOST_SPLIT_TOKENS, form)
        aspects, spent = named["aspects"], spend(context, answer)
    except (ServiceError, ContextLengthError) as error:
        aspects = []
        told += tell(context, EventType.thinking, text=f"(not split: {error})\n\n")
    aspects = [" ".join(one.split())[:MOST_ASPECT_CHARACTERS] for one in aspects]
    return {
        "aspects": [one for one in dict.fromkeys(aspects) if one][:most] or [WHOLE],
        "notes": [ANEW],
        "weighed": "",
        "spent": spent,
        "told": told + tell_stage(context, "split", 1, 1),
    }


def each(state: State) -> list[Send]:
    """Return a look at each aspect, all at once."""
    aspects = state["aspects"]
    return [
        Send(
            "look_at",
            Look(window=state["window"], aspect=aspect, place=place, n_aspects=len(aspects)),
        )
        for place, aspect in enumerate(aspects)
    ]


async def look_at(state: Look, runtime: Runtime[ChatContext]) -> State:
    """Let the model say what matters about one aspect; one that fails is noted as such."""
    context, aspect = runtime.context, state["aspect"]
    asked = ASPECT_INSTRUCTION.format(aspect=aspect)
    window = [ChatMessage.model_validate(message) for message in state["window"]]
    prompt = [*window, ChatMessage(role=Role.user, content=asked)]
    spent: list[dict[str, Any]] = []
    try:
        answer = await ask(context, prompt, MOST_NOTE_TOKENS)
        text, spent = answer.content.strip(), spend(context, answer)
    except LabError as error:
        text = f"(could not be looked at: {error})"
    told = tell(context, EventType.thinking, text=f"{aspect}: {text}\n\n")
    told += tell_stage(context, aspect, state["place"] + 1, state["n_aspects"])
    return {"notes": [{"aspect": aspect, "text": text}], "spent": spent, "told": told}


async def weigh(state: State, runtime: Runtime[ChatContext]) -> State:
    """Let the model say what is wrong with the notes, and put them after the question."""
    context = runtime.context
    told = tell_stage(context, "weigh", 0, 1)
    notes = "\n\n".join(f"{note['aspect']}: {note['text']}" for note in state["notes"])
    spent: list[dict[str, Any]] = []
    doubt = ChatMessage(role=Role.user, content=WEIGH_INSTRUCTION)
    try:
        # The window of the looks has no room for notes.
        beside = [_said(_fitting(context, notes)), doubt]
        window = await build_window(context, chat.current(state), beside, [], LEAST_WEIGHED_TOKENS)
        answer = await ask(context, window.messages, MOST_NOTE_TOKENS)
        weighed, spent = answer.content.strip(), spend(context, answer)
    except LabError as error:
        weighed = f"(the notes could not be weighed: {error})"
    told += tell(context, EventType.thinking, text=f"{weighed}\n\n")
    said = [
        _said(_fitting(context, f"{notes}\n\n{weighed}")),
        ChatMessage(role=Role.user, content=JOIN_INSTRUCTION),
    ]
    return {
        "weighed": weighed,
        "said": [message.model_dump(mode="json") for message in said],
        "spent": spent,
        "told": told + tell_stage(context, "weigh", 1, 1),
    }


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = chat.begin_graph(State)
    graph.add_node("look", look)
    graph.add_node("split", split)
    graph.add_node("look_at", look_at)
    graph.add_node("weigh", weigh)
    graph.add_edge("remember", "look")
    graph.add_edge("look", "split")
    graph.add_conditional_edges("split", each, ["look_at"])
    graph.add_edge("look_at", "weigh")
    graph.add_edge("weigh", "assemble")
    chat.add_answering(graph)
    return graph


def _said(text: str) -> ChatMessage:
    return ChatMessage(role=Role.assistant, content=text)


def _fitting(context: ChatContext, text: str) -> str:
    """Return notes, cut to what the window holds beside the question."""
    instruction = ChatMessage(role=Role.user, content=JOIN_INSTRUCTION)
    room = room_beside(context, [_said(""), instruction])
    return shortened(context, text, max(room // 2, LEAST_NOTE_TOKENS))
