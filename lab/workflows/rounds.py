"""
Rounds of one turn: the model calls tools, the lab runs its own, and the model sees the results.

What a round was is plain data in the state of the graph; its limits follow from it alone.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from lab.messages import answer_parts
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.image import Image
from lab.schemas.image_part import ImagePart
from lab.schemas.prompt_tokens_details import PromptTokensDetails
from lab.schemas.role import Role
from lab.schemas.tool_call import ToolCall
from lab.schemas.tool_result_part import ToolResultPart
from lab.schemas.tools_config import ToolsConfig
from lab.schemas.usage import Usage
from lab.workflows.approval import NOT_ASKED, Decision
from lab.workflows.context import ChatContext
from lab.workflows.tools import ERROR, Outcome, ToolContext
from lab.workflows.turns import Turn
from lab.workflows.window import room_beside
from lab.workflows.withholding import withheld

LEAST_RESULT_TOKENS: Final = 16
"""A result of fewer tokens tells nothing."""
CUT: Final = " … (the rest was cut)"
LAST: Final = "\n(No more tools in this turn: answer now.)"
"""Follows the last result before the model must answer."""


class Round(BaseModel):
    """An answer that calls tools of the lab, and what they answered."""

    answer: ChatResult
    calls: list[ToolCall]
    """Those that the lab ran."""
    results: list[ToolResultPart]
    """Of these calls, in their order."""
    spent: list[Usage]
    """What models cost that tools asked."""
    made: list[Image] = []
    """Pictures that tools made."""
    is_last: bool
    """Whether a limit is reached, so that the model must answer."""

    @property
    def waits_for_client(self) -> bool:
        """Whether tools of the client were called, too, and the turn ends for their results."""
        return len(self.calls) < len(self.answer.tool_calls)

    @property
    def messages(self) -> list[ChatMessage]:
        """The round as the model sees it."""
        return [
            said(self.answer),
            *(
                ChatMessage(role=Role.tool, content=r.text, tool_call_id=r.tool_call_id)
                for r in self.results
            ),
        ]

    @property
    def turns(self) -> list[Turn]:
        """The round as it is stored; one that was cut off may have nothing to store."""
        parts = answer_parts(self.answer)
        return [
            *([Turn(Role.assistant, parts)] if parts else []),
            *(Turn(Role.tool, [result]) for result in self.results),
        ]


def rounds_of(state: Mapping[str, Any]) -> list[Round]:
    """Return the rounds that a state of the graph holds."""
    return [Round.model_validate(one) for one in state.get("rounds", [])]


def said(answer: ChatResult) -> ChatMessage:
    """Return an answer as the model sees it afterwards."""
    return ChatMessage(
        role=Role.assistant, content=answer.content or None, tool_calls=answer.tool_calls
    )


def messages_of(rounds: Sequence[Round]) -> list[ChatMessage]:
    """Return rounds as the model sees them."""
    return [message for one in rounds for message in one.messages]


def turns_of(rounds: Sequence[Round]) -> list[Turn]:
    """Return rounds as they are stored."""
    return [turn for one in rounds for turn in one.turns]


def usage_of(
    rounds: Sequence[Round], last: ChatResult | None = None, spent: Sequence[Usage] = ()
) -> Usage:
    """Return what all answers of a turn cost together; each reads its prompt anew."""
    usages = [usage for one in rounds for usage in (one.answer.usage, *one.spent)]
    usages += [*([last.usage] if last else []), *spent]
    usages = [usage for usage in usages if usage.total_tokens] or usages[:1]
    if len(usages) == 1:
        return usages[0]
    cached = [u.prompt_tokens_details.cached_tokens for u in usages if u.prompt_tokens_details]
    return Usage(
        prompt_tokens=sum(u.prompt_tokens for u in usages),
        completion_tokens=sum(u.completion_tokens for u in usages),
        total_tokens=sum(u.total_tokens for u in usages),
        prompt_tokens_details=PromptTokensDetails(cached_tokens=sum(cached)) if cached else None,
        queue_ms=sum(u.queue_ms for u in usages),
        first_token_ms=usages[0].first_token_ms,
        total_ms=sum(u.total_ms for u in usages),
        estimated=any(u.estimated for u in usages),
    )


def run_by_lab(context: ChatContext, calls: Sequence[ToolCall]) -> list[ToolCall]:
    """Return the calls that the lab answers: all but those of the client's tools."""
    theirs = {tool.name for tool in context.turn.tools}
    return [call for call in calls if context.has_tools and call.name not in theirs]


def to_be_allowed(context: ChatContext, rounds: Sequence[Round], answer: ChatResult) -> list[str]:
    """Return the ids of the calls of an answer that wait until the user allows them."""
    calls = run_by_lab(context, answer.tool_calls)
    beyond = refusals(context.settings.config.tools, rounds, calls)
    asks = _asking(context, calls)
    return [call.id for place, call in enumerate(calls) if place in asks and place not in beyond]


def note(context: ChatContext, rounds: Sequence[Round]) -> None:
    """Note rounds as what is stored before the answer, whatever becomes of it."""
    made = [image for one in rounds for image in one.made]
    if made:
        context.recorder.attach([ImagePart(file_id=image.file_id) for image in made])
    if rounds or context.spent:
        context.recorder.note(turns_of(rounds), usage_of(rounds, spent=context.spent))


async def run_round(
    context: ChatContext,
    rounds: Sequence[Round],
    answer: ChatResult,
    tool_context: ToolContext,
    shown: Sequence[ChatMessage],
    *,
    has_foreign: bool,
    decision: Decision,
) -> Round:
    """
    Run what an answer calls of the lab's tools, all at once, and return the round.

    Parameters
    ----------
    context : ChatContext
        The run.
    rounds : sequence of Round
        Those before.
    answer : ChatResult
        What the model answered.
    tool_context : ToolContext
        What tools may use.
    shown : sequence of ChatMessage
        What the model had seen.
    has_foreign : bool
        Whether text of others was shown in the turn, beside what tools returned.
    decision : Decision
        What the user said of the calls that waited.
    """
    calls = run_by_lab(context, answer.tool_calls)
    config = context.settings.config.tools
    beyond = refusals(config, rounds, calls)
    before = [
        (call, result.text)
        for one in rounds
        for call, result in zip(one.calls, one.results, strict=True)
    ]
    barred = withheld(context.tools, before, calls, shown, has_foreign=has_foreign)
    refused = {**_not_allowed(context, calls, decision, barred), **beyond}
    n_tokens = _most_tokens(context, rounds, answer, calls)

    ended: dict[int, ToolResultPart] = {}

    def note_ended() -> None:
        done = sorted(ended)
        cut_off = answer.model_copy(update={"tool_calls": [calls[place] for place in done]})
        one = Round(
            answer=cut_off,
            calls=cut_off.tool_calls,
            results=[ended[place] for place in done],
            spent=tool_context.spent,
            made=tool_context.made,
            is_last=False,
        )
        note(context, [*rounds, one])

    async def run(place: int, call: ToolCall) -> None:
        if place in refused:
            outcome = Outcome(f"{ERROR}{refused[place]}", failed=True)
        else:
            outcome = await context.toolbox.run(call, context.tools, tool_context)
        text = shortened(context, outcome.text, max(n_tokens, LEAST_RESULT_TOKENS))
        _tell_finished(context, call, outcome, text)
        ended[place] = ToolResultPart(tool_call_id=call.id, text=text)
        note_ended()

    note_ended()
    for call in calls:
        context.tell(EventType.tool_started, tool_call=call.model_dump(mode="json"))
    await asyncio.gather(*(run(place, call) for place, call in enumerate(calls)))
    for image in tool_context.made:
        context.tell(EventType.image, image=image.model_dump(mode="json"))
    results = [ended[place] for place in range(len(calls))]
    is_last = bool(beyond) or n_tokens < LEAST_RESULT_TOKENS or is_spent(config, rounds, calls)
    if is_last:
        results[-1] = results[-1].model_copy(update={"text": results[-1].text + LAST})
    return Round(
        answer=answer,
        calls=calls,
        results=results,
        spent=tool_context.spent,
        made=tool_context.made,
        is_last=is_last,
    )


def _asking(context: ChatContext, calls: Sequence[ToolCall]) -> set[int]:
    """Return the places of the calls that run only where the user allows them."""
    names = context.tools.keys() & set(context.settings.config.tools.ask)
    return {place for place, call in enumerate(calls) if call.name in names}


def _not_allowed(
    context: ChatContext,
    calls: Sequence[ToolCall],
    decision: Decision,
    barred: Mapping[int, str],
) -> dict[int, str]:
    """
    Return why calls do not run as the user decided, by their places.

    What the user saw and allowed runs, also where text of others may have asked for it; what waits
    now and was not shown does not run, whatever has been set since.
    """
    refused = {place: NOT_ASKED for place in _asking(context, calls)} | dict(barred)
    for place, call in enumerate(calls):
        if call.id in decision.allowed:
            refused.pop(place, None)
        elif call.id in decision.denied:
            refused[place] = decision.denied[call.id]
    return refused


def refusals(
    config: ToolsConfig, rounds: Sequence[Round], calls: Sequence[ToolCall]
) -> dict[int, str]:
    """Return why calls do not run that are beyond a limit, by their places."""
    made = Counter(_key(call) for one in rounds for call in one.calls)
    refused: dict[int, str] = {}
    for place, call in enumerate(calls):
        n_made = made.total()
        if n_made >= config.max_calls:
            refused[place] = f"{n_made} calls were made in this turn, and no more can be."
        elif made[_key(call)] >= config.max_repeats:
            refused[place] = "this call was made before; its result stands above."
        made[_key(call)] += 1
    return refused


def is_spent(config: ToolsConfig, rounds: Sequence[Round], calls: Sequence[ToolCall]) -> bool:
    """Return whether the model has called all that it may, with these calls."""
    n_calls = len(calls) + sum(len(one.calls) for one in rounds)
    return len(rounds) + 1 >= config.max_rounds or n_calls >= config.max_calls


def _key(call: ToolCall) -> tuple[str, str]:
    return call.name, json.dumps(call.arguments, sort_keys=True)


def _most_tokens(
    context: ChatContext,
    rounds: Sequence[Round],
    answer: ChatResult,
    calls: Sequence[ToolCall],
) -> int:
    """Return the tokens that a result may have: of what is left, half is for further rounds."""
    empty = [ChatMessage(role=Role.tool, content=LAST, tool_call_id=call.id) for call in calls]
    room = room_beside(context, [*messages_of(rounds), said(answer), *empty])
    return min(context.settings.config.tools.result_tokens, room // 2 // len(calls))


def _tell_finished(context: ChatContext, call: ToolCall, outcome: Outcome, text: str) -> None:
    context.tell(
        EventType.tool_finished,
        tool_call_id=call.id,
        name=call.name,
        text=text,
        failed=outcome.failed,
        seconds=round(outcome.seconds, 3),
    )


def shortened(context: ChatContext, text: str, n_tokens: int) -> str:
    """Return a text, or as much of its beginning as takes so many tokens."""
    count = context.chat.count_text
    # No token has more than some 60 characters: what is far too long is not counted whole.
    text = text[: n_tokens * 64]
    if count(text) <= n_tokens:
        return text
    low, high = 0, len(text)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(text[:middle] + CUT) <= n_tokens else (low, middle)
    return text[:low].rstrip() + CUT
