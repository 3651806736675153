"""Calls of tools that wait until the user allows them (setting `tools.ask`)."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langgraph.types import interrupt
from pydantic import ValidationError

from lab.errors import InputError, cut
from lab.schemas.approval import Approval
from lab.schemas.approval_request import ApprovalRequest
from lab.schemas.chat_result import ChatResult

KIND: Final = "approval"
DENIED: Final = "the user did not allow this call"
NOT_ASKED: Final = "this call waits for the user, who was not asked about it; call it again."


@dataclass(frozen=True)
class Decision:
    """
    What the user said of the calls of an answer.

    Attributes
    ----------
    allowed : collection of str
        Ids of those that may run.
    denied : mapping
        Why others may not, by their ids.
    """

    allowed: Collection[str] = ()
    denied: Mapping[str, str] = field(default_factory=dict)


def decided(answer: ChatResult, waiting: Collection[str]) -> tuple[ChatResult, Decision]:
    """
    Return an answer with its calls as the user allows them, and what the user said.

    Where the user was not asked yet, the step ends here, and begins anew with the reply: nothing
    may have happened in it before.

    Parameters
    ----------
    answer : ChatResult
        What the model answered.
    waiting : collection of str
        Ids of those of its calls that wait for the user.
    """
    shown = [call for call in answer.tool_calls if call.id in waiting]
    if not shown:
        return answer, Decision()
    asked = ApprovalRequest(kind=KIND, calls=shown)
    reply = Approval.model_validate(interrupt(asked.model_dump(mode="json")))
    if not reply.approve:
        why = f"{DENIED}: {reply.reason}" if reply.reason else f"{DENIED}."
        return answer, Decision(denied={call.id: why for call in shown})
    calls = [
        call.model_copy(update={"arguments": reply.arguments.get(call.id, call.arguments)})
        for call in answer.tool_calls
    ]
    return answer.model_copy(update={"tool_calls": calls}), Decision(allowed=waiting)


def check_reply(questions: Iterable[Any], reply: Any) -> None:
    """
    Refuse a reply that does not say whether the calls that a run asks about may run.

    Raises
    ------
    InputError
        If it says something else, or changes a call that is not asked about.
    """
    asked = [ApprovalRequest.model_validate(one) for one in questions if _is_approval(one)]
    if not asked:
        return
    try:
        approval = Approval.model_validate(reply)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, ("reply", *problem["loc"])))
        raise InputError(
            f'`{place}`: {problem["msg"]}; expected {{"approve": true}} or '
            f'{{"approve": false, "reason": "…"}}, got {cut(repr(reply))}.'
        ) from None
    if approval.arguments and not approval.approve:
        raise InputError("`reply.arguments` are for calls that may run; leave them out.")
    known = {call.id for one in asked for call in one.calls}
    if strange := approval.arguments.keys() - known:
        raise InputError(
            f"`reply.arguments`: no call `{min(strange)}` waits; these do: "
            f"{', '.join(sorted(known))}."
        )


def _is_approval(question: Any) -> bool:
    return isinstance(question, Mapping) and question.get("kind") == KIND
