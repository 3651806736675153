"""
Plan what somebody wants to reach, as todos of the conversation.

    START -> remember -> assemble -> plan -> write_down -> record -> END

`plan` lets the model name new steps, in a form, and which todos are done by what was said;
`write_down` stores both, and the answer lists the todos. In a chat that is not stored the steps are
listed alone. Documents and what people share stay out of the window: what others wrote does not
become a todo.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from langgraph.graph import StateGraph
from langgraph.runtime import Runtime

from lab.db import Stores
from lab.db.ids import new_id
from lab.errors import InputError
from lab.prompts import LIST_HEADING, PLAN_INSTRUCTION
from lab.schemas.event_type import EventType
from lab.schemas.finish_reason import FinishReason
from lab.schemas.todo import Todo
from lab.schemas.todo_status import TodoStatus
from lab.workflows import chat
from lab.workflows.asking import (
    ask_form,
    instructed,
    object_of,
    room_for,
    spend,
    tell,
    tell_stage,
    tell_text,
)
from lab.workflows.context import ChatContext
from lab.workflows.window import context_length_of

MOST_DONE: Final = 100
"""Todos of a conversation that are done and listed still, the newest."""
MOST_PLAN_TOKENS: Final = 1024
MOST_STEP_CHARACTERS: Final = 120
N_STAGES: Final = 2


class State(chat.State, total=False):
    """What flows along the edges."""

    steps: list[dict[str, str]]
    """`{"id": ..., "text": ...}` of the todos that new steps become, in their order."""

    done: list[str]
    """Ids of the todos that are done."""


async def assemble(state: State, runtime: Runtime[ChatContext]) -> chat.State:
    """Choose what the model sees, without what others wrote."""
    context = runtime.context.without_foreign()
    instruction = _instruction(context, _shown(context, await _all_open(context)))
    return await chat.assembled(state, context, room_for(context, instruction, MOST_PLAN_TOKENS))


async def plan(state: State, runtime: Runtime[ChatContext]) -> State:
    """Let the model name steps, and what is done."""
    context = runtime.context
    most = context.settings.config.workflow.max_steps
    told = tell_stage(context, "plan", 0, N_STAGES)
    open_ = await _all_open(context)
    todos = _shown(context, open_)
    prompt = instructed(state["window"], _instruction(context, todos))
    planned, answer = await ask_form(context, prompt, MOST_PLAN_TOKENS, _form(most, len(todos)))
    steps = [" ".join(step.split())[:MOST_STEP_CHARACTERS] for step in planned["steps"]]
    new = _new([step for step in dict.fromkeys(steps) if step][:most], open_)
    # Of an answer that was cut off the last number may be the beginning of another.
    is_whole = answer.finish_reason is not FinishReason.length
    named = planned.get("done", []) if is_whole else []
    done = sorted({n for n in named if 0 < n <= len(todos)})
    return {
        "steps": [{"id": str(new_id()), "text": step} for step in new],
        "done": [str(todos[n - 1].id) for n in done],
        "spent": spend(context, answer),
        "told": told,
    }


async def write_down(state: State, runtime: Runtime[ChatContext]) -> State:
    """Store the steps as todos, tick off what is done, and answer with the list."""
    context = runtime.context
    if context.is_kept:
        todos = await _changed(context, state["steps"], [UUID(id) for id in state["done"]])
        lines = [f"- [{'x' if _is_done(todo) else ' '}] {todo.text}" for todo in todos]
        dumps = [todo.model_dump(mode="json") for todo in todos]
        told = tell(context, EventType.todos, todos=dumps)
    else:
        lines, told = [f"- [ ] {step['text']}" for step in state["steps"]], []
    told += tell_stage(context, "plan", N_STAGES, N_STAGES)
    answer = tell_text(context, "\n".join(lines) or "There is nothing to do.")
    return {"answer": answer.model_dump(mode="json"), "told": told}


def build_graph() -> StateGraph[State, ChatContext]:
    """Return the graph, not compiled; pass a `ChatContext` when it runs."""
    graph = chat.begin_graph(State)
    graph.add_node("assemble", assemble)
    graph.add_node("plan", plan)
    graph.add_node("write_down", write_down)
    graph.add_edge("remember", "assemble")
    graph.add_edge("assemble", "plan")
    graph.add_edge("plan", "write_down")
    graph.add_edge("write_down", "record")
    return graph


def _form(most: int, n_todos: int) -> dict[str, Any]:
    """Return the form of a plan; only what is on the list can be done."""
    number = {"type": "integer", "enum": [*range(1, n_todos + 1)] or [0]}
    return object_of(
        steps={
            "type": "array",
            "maxItems": most,
            "items": {"type": "string", "minLength": 1, "maxLength": MOST_STEP_CHARACTERS},
        },
        done={"type": "array", "maxItems": n_todos, "items": number},
    )


def _is_done(todo: Todo) -> bool:
    return todo.status is TodoStatus.completed


def _instruction(context: ChatContext, todos: Sequence[Todo]) -> str:
    """Return what a plan is asked for by, with the list so far."""
    asked = PLAN_INSTRUCTION.format(most=context.settings.config.workflow.max_steps)
    lines = [f"{place}. {todo.text}" for place, todo in enumerate(todos, 1)]
    return asked + LIST_HEADING + ("\n".join(lines) or "(empty)")


async def _all_open(context: ChatContext) -> list[Todo]:
    """
    Return all todos of the conversation that are not done, the newest first.

    Raises
    ------
    InputError
        If there are more than a plan is made with.
    """
    if not context.is_kept:
        return []
    async with context.stores() as stores:
        return await _open(stores, context)


async def _open(stores: Stores, context: ChatContext) -> list[Todo]:
    chat_id, most = context.turn.conversation_id, context.settings.config.workflow.max_todos
    found = await stores.todos.list(most + 1, conversation_id=chat_id, is_done=False)
    if len(found) > most:
        raise InputError(
            f"This conversation has more than {most} open todos; finish or drop some, plan in "
            "another one, or raise `workflow.max_todos`."
        )
    return found


def _shown(context: ChatContext, todos: Sequence[Todo]) -> list[Todo]:
    """
    Return the open todos that the model sees, the first written down first.

    Where the window is small, the newest that take no more than a quarter of it.
    """
    room = (context.context_length or context_length_of(context.chat)) // 4
    shown: list[Todo] = []
    for todo in todos:
        room -= context.chat.count_text(f"{len(todos)}. {todo.text}\n")
        if room < 0:
            break
        shown.insert(0, todo)
    return shown


def _new(steps: Iterable[str], todos: Iterable[Todo]) -> list[str]:
    """Return the steps that are no open todo yet, each once, however it is written."""
    known = {todo.text.casefold() for todo in todos}
    found: list[str] = []
    for step in steps:
        if step.casefold() not in known:
            known.add(step.casefold())
            found.append(step)
    return found


async def _changed(
    context: ChatContext, steps: Sequence[Mapping[str, str]], done: Sequence[UUID]
) -> list[Todo]:
    """Store a plan, once, and return what is listed."""
    chat_id = context.turn.conversation_id
    async with context.stores() as stores:
        ids = {step["text"]: UUID(step["id"]) for step in steps}
        if not await stores.todos.has_any(ids.values()):  # else killed before its checkpoint
            before = await _open(stores, context)
            for todo in before:
                if todo.id in done:
                    changes: dict[str, Any] = {"status": TodoStatus.completed}
                    await stores.todos.update(todo.id, todo.version, **changes)
            for step in _new(ids, before):
                await stores.todos.create(step, chat_id, ids[step])
        return await _listed(stores, chat_id)


async def _listed(stores: Stores, chat_id: UUID | None) -> list[Todo]:
    """Return all open todos of the conversation and the last done, as they were written down."""
    open_ = await stores.todos.list(None, conversation_id=chat_id, is_done=False)
    done = await stores.todos.list(MOST_DONE, conversation_id=chat_id, is_done=True)
    return sorted([*open_, *done], key=lambda todo: (todo.created_at, todo.id))
