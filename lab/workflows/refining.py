"""
Refine an answer before it is given.

    generate -> critique -> present -> record
                 ^    |
                 +- improve

The model says what is wrong with its draft, in a form, and writes it anew; of two drafts the one
with the better critique stays, the earlier one where they are alike. What cannot be judged, because
the window is full or the model keeps to no form, is given as it is.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypedDict

from langgraph.graph import StateGraph
from langgraph.runtime import Runtime
from pydantic import BaseModel

from lab.errors import LabError
from lab.prompts import CRITIQUE_INSTRUCTION, IMPROVE_INSTRUCTION
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.event_type import EventType
from lab.schemas.response_kind import ResponseKind
from lab.schemas.role import Role
from lab.workflows.asking import (
    NOTHING,
    ask,
    ask_form,
    object_of,
    spend,
    tell_stage,
)
from lab.workflows.context import ChatContext
from lab.workflows.rounds import rounds_of, usage_of
from lab.workflows.telling import tell_end

BEST: Final = 5
"""Score of an answer at which there is nothing to improve."""
CRITIQUE: Final = object_of(
    score={"type": "integer", "enum": [1, 2, 3, 4, BEST]},
    wrong={"type": "string", "maxLength": 400},
)
REFINE: Final = "workflow.refine"
"""The setting: where the operator locked it, no profile goes round it."""
MOST_CRITIQUE_TOKENS: Final = 200
MOST_ANSWER_TOKENS: Final = 1024
"""Of a draft that is written again, where nobody asked for another length."""

_MARKER: Final = (
    r"(?:<\|(?:im_start|im_end|endoftext|eot_id|eom_id|begin_of_text|start_header_id|end_header_id|"
    r"assistant|user|system|end)\|>|<(?:start|end)_of_turn>|</?s>|\[/?INST\])"
)
"""What chat templates put around turns; at the end of an answer it has leaked."""
_LEAKED: Final = re.compile(rf"(?:\s*{_MARKER})+\s*\Z")
_THOUGHT: Final = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)


class Drafting(TypedDict, total=False):
    """The keys of a turn's state that these steps read and change."""

    window: list[dict[str, Any]]
    rounds: list[dict[str, Any]]
    answer: dict[str, Any]
    drafts: list[dict[str, Any]]
    told: list[dict[str, Any]]
    spent: list[dict[str, Any]]


class Draft(BaseModel):
    """An answer, and what its writer found wrong with it."""

    answer: ChatResult
    """As it was written, and told."""

    score: int = 0
    """From 1 to `BEST`; 0 where nobody judged it."""

    wrong: str = ""

    @property
    def thought(self) -> str:
        """The draft as it is told, with what is wrong with it."""
        return self.answer.thinking + self.answer.content + _aside(self.wrong)

    @property
    def clean(self) -> str:
        """What would be given."""
        return filtered(self.answer.content)


def n_refinements(context: ChatContext) -> int:
    """Return how often an answer may be written again: request, profile, user's setting."""
    form, n = context.parameters.response_format, context.settings.config.workflow.refine
    if (
        context.parameters.n > 1
        or context.parameters.logprobs
        or (form is not None and form.type is not ResponseKind.text)
    ):
        return 0
    is_locked = REFINE in context.settings.config.limits.locked
    if is_locked or "refine" in context.turn.settings.get("workflow", {}):
        return n
    return n if context.profile.refine is None else context.profile.refine


def thoughts_of(state: Mapping[str, Any]) -> str:
    """Return what finished steps told as thinking, and the drafts, word for word."""
    kind = EventType.thinking.value
    told = [one["data"]["text"] for one in state.get("told", []) if one["type"] == kind]
    drafts = [Draft.model_validate(draft).thought for draft in state.get("drafts", [])]
    return "".join([*told, *drafts])


def filtered(text: str) -> str:
    r"""
    Return a text without the thought it begins with, and the markers it ends with.

    Whatever stands within it is the answer's own: it may be about markers, or repeat itself.

    >>> filtered("<think>Hm.</think>\nIt is <s>red</s> blue.\n<|im_end|>")
    'It is <s>red</s> blue.'
    """
    return _LEAKED.sub("", _THOUGHT.sub("", text)).strip("\n")


async def critique(state: Drafting, runtime: Runtime[ChatContext]) -> Drafting:
    """Let the model say what is wrong with the newest draft."""
    context, drafts = runtime.context, _drafts(state)
    draft, n_rounds = drafts[-1], n_refinements(context)
    told = tell_stage(context, "critique", len(drafts) - 1, n_rounds)
    found: dict[str, Any] = {}
    spent: list[dict[str, Any]] = []
    if draft.clean and not draft.answer.tool_calls:
        try:
            prompt = _after(state, draft.clean, CRITIQUE_INSTRUCTION)
            found, answer = await ask_form(context, prompt, MOST_CRITIQUE_TOKENS, CRITIQUE)
            spent = spend(context, answer)
        except LabError as error:
            found = {"wrong": f"(not judged: {error})"}
    drafts[-1] = draft.model_copy(update=found)
    if wrong := drafts[-1].wrong:
        context.tell(EventType.thinking, text=_aside(wrong))
    return {"drafts": _dumps(drafts), "told": told, "spent": spent}


async def improve(state: Drafting, runtime: Runtime[ChatContext]) -> Drafting:
    """Let the model write its draft again."""
    context, drafts = runtime.context, _drafts(state)
    best = _best(drafts)
    told = tell_stage(context, "improve", len(drafts), n_refinements(context))
    instruction = IMPROVE_INSTRUCTION.format(wrong=best.wrong or "It could be clearer.")
    prompt = _after(state, best.clean, instruction)
    try:
        most = context.parameters.max_new_tokens or MOST_ANSWER_TOKENS
        answer = await ask(context, prompt, most)
    except LabError as error:
        text = _aside(f"(not written again: {error})")
        context.tell(EventType.thinking, text=text)
        failed = best.answer.model_copy(update={"content": "", "thinking": text, "usage": NOTHING})
        tried = Draft(answer=failed)
        return {"drafts": _dumps([*drafts, tried]), "told": told}
    written = answer.model_copy(update={"tool_calls": []})
    context.tell(EventType.thinking, text=written.thinking + written.content)
    spent = spend(context, answer)
    return {"drafts": _dumps([*drafts, Draft(answer=written)]), "told": told, "spent": spent}


async def present(state: Drafting, runtime: Runtime[ChatContext]) -> Drafting:
    """Give the best draft as the answer."""
    context, drafts = runtime.context, _drafts(state)
    best = _best(drafts)
    place = drafts.index(best)
    told = tell_stage(context, "refined", place, max(1, len(drafts) - 1))
    # What was thought, and what it cost, stands with the drafts.
    given = {"content": best.clean, "usage": NOTHING, "thinking": ""}
    answer = best.answer.model_copy(update=given)
    context.tell(EventType.content, text=answer.content)
    tell_end(context, answer, usage_of(rounds_of(state), answer, context.spent))
    return {"answer": answer.model_dump(mode="json"), "told": told}


def has_to_improve(state: Drafting, runtime: Runtime[ChatContext]) -> Literal["improve", "present"]:
    """Return where a critique leads."""
    drafts, n_rounds = _drafts(state), n_refinements(runtime.context)
    last, before = drafts[-1], drafts[-2:-1]
    is_over = len(drafts) > n_rounds or not 0 < last.score < BEST
    is_worse = any(last.score <= one.score for one in before)
    return "present" if is_over or is_worse else "improve"


def add_refining(graph: StateGraph[Any, ChatContext]) -> None:
    """Add the steps from `critique` to `record`."""
    graph.add_node("critique", critique)
    graph.add_node("improve", improve)
    graph.add_node("present", present)
    graph.add_conditional_edges("critique", has_to_improve)
    graph.add_edge("improve", "critique")
    graph.add_edge("present", "record")


def _drafts(state: Drafting) -> list[Draft]:
    return [Draft.model_validate(draft) for draft in state["drafts"]]


def _dumps(drafts: list[Draft]) -> list[dict[str, Any]]:
    return [draft.model_dump(mode="json") for draft in drafts]


def _best(drafts: list[Draft]) -> Draft:
    """Return the draft with the best score, the earliest of several."""
    return max(drafts, key=lambda draft: draft.score)


def _after(state: Drafting, answer: str, instruction: str) -> list[ChatMessage]:
    """Return what the model saw, its answer, and what it shall do with it."""
    return [
        *(ChatMessage.model_validate(message) for message in state["window"]),
        ChatMessage(role=Role.assistant, content=answer),
        ChatMessage(role=Role.user, content=instruction),
    ]


def _aside(text: str) -> str:
    return f"\n\n{text}\n\n" if text else ""
