"""Interrupted turns: what is left of one, and where its graph stands."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Interrupt, StateSnapshot

from lab.db import Stores
from lab.errors import ConflictError, InputError, UnclearReplyError
from lab.messages import to_chat_message
from lab.schemas.chat_turn import ChatTurn
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.image_part import ImagePart
from lab.schemas.message import Message
from lab.schemas.receipt import Receipt
from lab.schemas.role import Role
from lab.schemas.route import Route
from lab.schemas.route_source import RouteSource
from lab.schemas.run import Run
from lab.schemas.run_kind import RunKind
from lab.schemas.run_status import RunStatus
from lab.workflows.approval import check_reply

DEFAULT_ROUTE: Final = {"workflow": "chat", "source": RouteSource.default}
"""Of runs that say nothing of it."""
AUTO: Final = "auto"
"""The workflow that fits what a message wants; of a run, that nobody knows it yet."""
TURN: Final = "turn"
"""Key of the metadata of a checkpoint: the run that began the turn whose step it is."""

ASK: Final = re.compile("[0-9a-f]{32}")
"""The id of a question."""


@dataclass(frozen=True)
class LeftTurn:
    """
    An interrupted turn as the database has it.

    Attributes
    ----------
    run : Run
        What was interrupted.
    last : UUID
        The run that went on with it last; itself where none did.
    turn : ChatTurn
        What was asked.
    tools : list of str
        Names of the lab's tools that it began with.
    turn_ids : list of UUID
        The messages that it stored.
    answered : list of Message
        Its answer with the rounds before it, where they were stored before the run could be closed.
    receipt : Receipt or None
        What was put before the model, where that was chosen.
    route : Route
        By which workflow it was answered.
    is_newest : bool
        Whether nothing was said in the conversation after it.
    """

    run: Run
    last: UUID
    turn: ChatTurn
    tools: list[str]
    turn_ids: list[UUID]
    answered: list[Message]
    receipt: Receipt | None
    route: Route
    is_newest: bool


@dataclass(frozen=True)
class Resumed:
    """
    What a turn goes on with.

    Attributes
    ----------
    run_id : UUID
        The run that began it.
    parameters : GenerationParameters
        What it used, the seed included.
    last, tools, turn_ids, answered, receipt, route
        As in `LeftTurn`.
    state : mapping
        What its finished steps returned; empty where none was finished.
    asks : bool
        Whether the next step waits for a reply.
    reply : object
        The reply.
    is_begun : bool
        Whether its graph began: it had a workflow already.
    """

    run_id: UUID
    parameters: GenerationParameters
    last: UUID
    tools: list[str]
    turn_ids: list[UUID]
    answered: list[Message]
    receipt: Receipt | None
    route: Route
    state: Mapping[str, Any]
    asks: bool
    reply: Any
    is_begun: bool


def asked_of(turn: ChatTurn, tools: Collection[str], route: Route) -> dict[str, Any]:
    """
    Return what a run keeps of its turn, beside the messages that are stored themselves.

    Parameters
    ----------
    turn : ChatTurn
        What is asked.
    tools : collection of str
        Names of the lab's tools that the model may call.
    route : Route
        By which workflow it is answered.
    """
    said = [message for message in turn.messages if message.role is not Role.system]
    system = [message for message in turn.messages if message.role is Role.system]
    return {
        **turn.model_dump(mode="json", exclude={"messages"}, exclude_unset=True),
        "system": [message.model_dump(mode="json", exclude_unset=True) for message in system],
        "n_said": len(said),
        "roles": [message.role.value for message in said],
        "lab_tools": list(tools),
        "route": route.model_dump(mode="json"),
    }


async def left_turn(stores: Stores, run_id: UUID) -> LeftTurn:
    """
    Return what is left of an interrupted turn.

    Raises
    ------
    NotFoundError
        If the run is not the owner's.
    ConflictError
        If it was not interrupted, another run went on with it to an end or does so, or its
        question was not stored.
    """
    run = await stores.runs.get(run_id)
    if run.kind is RunKind.research:
        raise ConflictError(
            f"The run {run_id} is of research; `lab research resume` goes on with it."
        )
    if run.status is not RunStatus.interrupted or run.asked is None:
        raise ConflictError(
            f"The run {run_id} is {run.status.value}{'' if run.asked else ' and not stored'}; only "
            "an interrupted turn of a stored conversation can be gone on with. Ask again."
        )
    began = run.resumes or run.id
    last = await stores.runs.check_left(began)
    turn, stored, tools = await turn_of(stores, run)
    receipt = await stores.runs.receipt_of(began)
    n_said = len(turn.messages) - len(run.asked["system"])
    turn_ids = [message.id for message in stored[:n_said]]
    route = Route.model_validate(run.asked.get("route", DEFAULT_ROUTE))
    assert run.conversation_id is not None, "what is stored of a turn is in a conversation"
    newest = await stores.messages.list(run.conversation_id, 1)
    is_newest = [message.id for message in newest] == turn_ids[-1:]
    answered = stored[n_said:]
    return LeftTurn(run, last, turn, tools, turn_ids, answered, receipt, route, is_newest)


async def turn_of(stores: Stores, run: Run) -> tuple[ChatTurn, list[Message], list[str]]:
    """
    Return what a run was asked, what its turn stored, and the lab's tools that it began with.

    Raises
    ------
    ConflictError
        If its question is not stored, or not as it was any more.
    """
    asked = dict(run.asked or {})
    stored = await stores.messages.of_run(run.resumes or run.id)
    roles = asked.pop("roles", None)
    if not asked or not _is_whole(stored, asked["n_said"], roles):
        raise ConflictError(f"The question of the run {run.id} was not stored; ask again.")
    system, n_said, tools = (asked.pop(name) for name in ("system", "n_said", "lab_tools"))
    asked.pop("route", None)
    pictures = {
        part.file_id: await stores.files.content(part.file_id)
        for message in stored[:n_said]
        for part in message.parts
        if isinstance(part, ImagePart)
    }
    said = [to_chat_message(message, pictures) for message in stored[:n_said]]
    turn = ChatTurn.model_validate(
        {
            **asked,
            "messages": [*system, *said],
            "profile": run.profile,
        }
    )
    return turn, stored, tools


def _is_whole(stored: Sequence[Message], n_said: int, roles: Sequence[str] | None) -> bool:
    """Return whether what was said is stored: where some was deleted, answers follow too early."""
    if len(stored) < n_said:
        return False
    return roles is None or [message.role.value for message in stored[:n_said]] == roles


async def resumed_turn(graph: CompiledStateGraph[Any, Any], left: LeftTurn, reply: Any) -> Resumed:
    """
    Return where the graph of an interrupted turn stands.

    Raises
    ------
    ConflictError
        If its conversation went on meanwhile, or it asks something and there is no reply.
    InputError
        If there is a reply and it asks nothing, something else, or several things at once.
    """
    run = left.run
    config: RunnableConfig = {"configurable": {"thread_id": str(run.conversation_id)}}
    found = await graph.aget_state(config)
    began = run.resumes or run.id
    is_begun = (found.metadata or {}).get(TURN) == str(began)
    if not is_begun and not _may_begin(left):
        raise _gone(began)
    if is_begun and _is_forgotten(graph, found):
        raise ConflictError(f"Steps of the run {run.id} were forgotten with what they told.")
    asks = is_begun and bool(found.interrupts)
    if reply is not None and run.id != left.last:
        raise ConflictError(
            f"The run {left.last} went on after the run {run.id}; reply to that one, if it asks."
        )
    if asks and reply is None:
        values = [interrupt.value for interrupt in found.interrupts]
        raise ConflictError(f"The run {run.id} asks {values}; go on with a `reply`.")
    if reply is not None and not asks:
        raise InputError(f"The run {run.id} asks nothing; go on without a `reply`.")
    if asks:
        _check_replies(found.interrupts, reply)
    return Resumed(
        run_id=began,
        parameters=GenerationParameters.model_validate(run.parameters),
        last=left.last,
        tools=left.tools,
        receipt=left.receipt,
        route=left.route,
        turn_ids=left.turn_ids,
        answered=left.answered,
        state=found.values if is_begun and not _is_at_start(found) else {},
        asks=asks,
        reply=reply,
        is_begun=is_begun,
    )


def _is_forgotten(graph: CompiledStateGraph[Any, Any], state: StateSnapshot) -> bool:
    """Return whether steps were deleted under a turn, so that later ones miss what they began."""
    has_begun = (state.metadata or {}).get("source") != "input" and "remember" not in state.next
    return has_begun and "turn_ids" in graph.channels and "turn_ids" not in state.values


def _check_replies(questions: Sequence[Interrupt], reply: Any) -> None:
    """
    Refuse a reply that answers no open question, as LangGraph does.

    It may name the questions by their ids, also some of several; without, it answers the only one.

    Raises
    ------
    ConflictError
        If it names another, which was answered before.
    UnclearReplyError
        If several are open and it names none.
    InputError
        If it is no answer to its question.
    """
    asked = {question.id: question.value for question in questions}
    if not (isinstance(reply, Mapping) and reply and all(map(ASK.fullmatch, reply))):
        if len(asked) > 1:
            raise UnclearReplyError(sorted(asked))
        reply = dict.fromkeys(asked, reply)
    if unknown := reply.keys() - asked:
        raise ConflictError(
            f"No question `{min(unknown)}` waits for a reply any more; look what the run asks."
        )
    for id, value in reply.items():
        check_reply([asked[id]], value)


async def check_turn(
    graph: CompiledStateGraph[Any, Any], config: RunnableConfig, run_id: UUID
) -> None:
    """
    Refuse to go on where a graph stands in another turn than the one that a run began.

    Raises
    ------
    ConflictError
        If its conversation went on meanwhile.
    """
    found = await graph.aget_state(config)
    if (found.metadata or {}).get(TURN) != str(run_id):
        raise _gone(run_id)


def _is_at_start(found: StateSnapshot) -> bool:
    return (found.metadata or {}).get("source") == "input" and bool(found.next)


def _may_begin(left: LeftTurn) -> bool:
    """Return whether it was interrupted while the model was asked what the message wants."""
    was_asked = left.route.source is RouteSource.intent or bool(left.route.reason)
    return was_asked and left.is_newest


def _gone(run_id: UUID) -> ConflictError:
    return ConflictError(
        f"The conversation went on after the run {run_id}, or its steps are gone; ask again."
    )
