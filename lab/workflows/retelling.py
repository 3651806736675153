"""Tell what the finished steps of a resumed turn told, so that its stream is whole."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.schemas.chat_delta import ChatDelta
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.member_receipt import MemberReceipt
from lab.schemas.usage import Usage
from lab.workflows.asking import tell_route
from lab.workflows.context import ChatContext
from lab.workflows.refining import Draft, n_refinements
from lab.workflows.rounds import Round, note, rounds_of, run_by_lab, usage_of
from lab.workflows.telling import Teller, tell_end
from lab.workflows.tools import ERROR


async def retell(context: ChatContext, state: Mapping[str, Any]) -> None:
    """
    Tell the finished steps of a turn once more.

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
    _tell_steps(context, state)
    rounds = rounds_of(state)
    note(context, rounds)
    for place, one in enumerate(rounds):
        # Where the answer is refined, what was said before a call was told as a thought.
        _tell_answer(context, rounds[:place], one.answer, is_draft=n_refinements(context) > 0)
        _tell_calls(context, one)
    if rounds and rounds[-1].waits_for_client:
        tell_end(context, rounds[-1].answer, usage_of(rounds, spent=context.spent))
    for draft in state.get("drafts", []):
        context.tell(EventType.thinking, text=Draft.model_validate(draft).thought)
    if state.get("answer"):
        result = ChatResult.model_validate(state["answer"])
        _tell_answer(context, rounds, result)
        if not run_by_lab(context, result.tool_calls):
            tell_end(context, result, usage_of(rounds, result, context.spent))


def _tell_steps(context: ChatContext, state: Mapping[str, Any]) -> None:
    """Tell what the turn is answered by, and what the steps before its answer told."""
    tell_route(context)
    context.spent.extend(Usage.model_validate(one) for one in state.get("spent", []))
    seen = [MemberReceipt.model_validate(one) for one in state.get("members", [])]
    context.recorder.members += [one.usage for one in seen if one.usage is not None]
    for told in state.get("told", []):
        context.tell(EventType(told["type"]), **told["data"])


def _tell_answer(
    context: ChatContext, rounds: Sequence[Round], answer: ChatResult, *, is_draft: bool = False
) -> None:
    teller = Teller(context, rounds, must_answer=False, is_draft=is_draft)
    for delta in _deltas(answer):
        teller.tell(delta)


def _tell_calls(context: ChatContext, one: Round) -> None:
    for call in one.calls:
        context.tell(EventType.tool_started, tool_call=call.model_dump(mode="json"))
    for call, result in zip(one.calls, one.results, strict=True):
        context.tell(
            EventType.tool_finished,
            tool_call_id=call.id,
            name=call.name,
            text=result.text,
            failed=result.text.startswith(ERROR),
        )
    for image in one.made:
        context.tell(EventType.image, image=image.model_dump(mode="json"))


def _deltas(result: ChatResult) -> Iterator[ChatDelta]:
    """Yield an answer as a stream that comes in one piece."""
    if result.thinking:
        yield ChatDelta(thinking=result.thinking)
    for call in result.tool_calls:
        yield ChatDelta(tool_call=call)
    if result.content:
        yield ChatDelta(content=result.content)
