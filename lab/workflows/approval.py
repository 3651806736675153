"""Calls of tools that wait until the user allows them (setting `tools.ask`)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from langgraph.types import interrupt
from pydantic import ValidationError

from lab.errors import InputError, cut
from lab.schemas.approval import Approval
from lab.schemas.approval_request import ApprovalRequest
from lab.schemas.chat_result import ChatResult
from lab.schemas.tool_call import ToolCall

KIND: Final = "approval"
DENIED: Final = "the user did not allow this call"


def decided(answer: ChatResult, waiting: Sequence[ToolCall]) -> tuple[ChatResult, dict[str, str]]:
    """
    Return an answer with its calls as the user allows them, and why others do not run, by their id.

    Where the user was not asked yet, the step ends here, and begins anew with the reply: nothing
    may have happened in it before.

    Parameters
    ----------
    answer : ChatResult
        What the model answered.
    waiting : sequence of ToolCall
        Those of its calls that wait for the user.
    """
    if not waiting:
        return answer, {}
    asked = ApprovalRequest(kind=KIND, calls=list(waiting))
    reply = Approval.model_validate(interrupt(asked.model_dump(mode="json")))
    if not reply.approve:
        why = f"{DENIED}: {reply.reason}" if reply.reason else f"{DENIED}."
        return answer, {call.id: why for call in waiting}
    calls = [
        call.model_copy(update={"arguments": reply.arguments.get(call.id, call.arguments)})
        for call in answer.tool_calls
    ]
    return answer.model_copy(update={"tool_calls": calls}), {}


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
