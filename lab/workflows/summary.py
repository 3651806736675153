"""Write a summary: of what was said, or of summaries that were too long to join."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lab.pipelines import run_pipeline
from lab.prompts import (
    NO_FACTS,
    SHORTEN_INSTRUCTION,
    SUMMARY_INSTRUCTIONS,
    SUMMARY_RULES,
    SUMMARY_SYSTEM,
)
from lab.protocols import ChatPipeline
from lab.schemas.chat_message import ChatMessage
from lab.schemas.chat_result import ChatResult
from lab.schemas.finish_reason import FinishReason
from lab.schemas.generation_parameters import GenerationParameters
from lab.schemas.role import Role
from lab.schemas.summary_style import SummaryStyle
from lab.schemas.usage import Usage
from lab.workflows.window import context_length_of

ANSWER_PART: Final = 4
"""The window is divided by this for the answer; the rest holds what is summarised."""
MOST_ANSWER_TOKENS: Final = 1024


@dataclass(frozen=True)
class Written:
    """
    A summary as it was written.

    Attributes
    ----------
    text : str
        A point a line; empty where nothing is worth telling.
    usage : sequence of Usage
        What each answer of the model cost that it took.
    """

    text: str
    usage: Sequence[Usage] = ()


async def summarise(chat: ChatPipeline, lines: Sequence[str], style: SummaryStyle) -> Written:
    """
    Return what lines of a chat tell.

    What does not fit the model's window is summarised in pieces.

    Parameters
    ----------
    chat : ChatPipeline
        Who summarises. A model made to demonstrate knows one instruction, and follows that.
    lines : sequence of str
        As `lab.messages.transcript` writes them.
    style : SummaryStyle
        How to write.
    """
    instruction = SUMMARY_INSTRUCTIONS[style.value] + SUMMARY_RULES
    return await answered(chat, SUMMARY_SYSTEM if chat.model.is_demo else instruction, lines)


async def joined(
    chat: ChatPipeline, texts: Iterable[str], style: SummaryStyle, most_tokens: int
) -> Written:
    """
    Return several summaries, the earliest first, as one of at most so many tokens.

    Their lines stand as they are while they fit; only what does not is put into fewer words. What
    is too long even then, or of a model that cannot do that, loses its earliest lines.
    """
    text = in_lines(texts)
    if chat.count_text(text) <= most_tokens:
        return Written(text)
    shorter = Written(text)
    if not chat.model.is_demo:
        instruction = f"{SHORTEN_INSTRUCTION} {SUMMARY_INSTRUCTIONS[style.value]}{SUMMARY_RULES}"
        shorter = await answered(chat, instruction, text.splitlines())
    lines = (shorter.text or text).splitlines()
    while lines and chat.count_text("\n".join(lines)) > most_tokens:
        lines = lines[1:]
    return Written("\n".join(lines), shorter.usage)


def in_lines(texts: Iterable[str]) -> str:
    r"""
    Return the lines of texts, none twice: the last time counts, since the last statement wins.

    >>> in_lines(["- Bo barks.\n- Al sings.", "- Bo barks."]).splitlines()
    ['- Al sings.', '- Bo barks.']
    """
    lines = [" ".join(line.split()) for text in texts for line in text.splitlines()]
    told = [line for line in lines if line and line.casefold() != NO_FACTS.casefold()]
    return "\n".join(reversed(dict.fromkeys(reversed(told))))


async def answered(chat: ChatPipeline, instruction: str, lines: Sequence[str]) -> Written:
    """
    Return what a model answers to lines of a chat, in as many pieces as its window needs.

    Parameters
    ----------
    chat : ChatPipeline
        Who answers.
    instruction : str
        What to do with the lines; it stands in the system message.
    lines : sequence of str
        What the user's message holds.
    """
    window = context_length_of(chat)
    n_answer = min(window // ANSWER_PART, MOST_ANSWER_TOKENS)

    def prompt(lines: Sequence[str]) -> list[ChatMessage]:
        return [
            ChatMessage(role=Role.system, content=instruction),
            ChatMessage(role=Role.user, content="\n".join(lines)),
        ]

    def fits(lines: Sequence[str]) -> bool:
        return chat.count_tokens(prompt(lines)) + n_answer <= window

    parameters = GenerationParameters(max_new_tokens=n_answer, temperature=0, seed=0)
    answers = [await run_pipeline(chat, prompt(p), parameters) for p in _pieces(lines, fits)]
    return Written(in_lines(map(_whole_lines, answers)), [answer.usage for answer in answers])


def _whole_lines(answer: ChatResult) -> str:
    """Return the lines of an answer: one that was cut off would tell half a fact."""
    lines = answer.content.strip().splitlines()
    cut = answer.finish_reason in {FinishReason.length, FinishReason.content_filter}
    return "\n".join(lines[:-1] if cut and len(lines) > 1 else lines)


def _pieces(lines: Sequence[str], fits: Callable[[Sequence[str]], bool]) -> list[Sequence[str]]:
    """Divide lines, and lines that are too long alone, until each piece fits."""
    if fits(lines):
        return [lines]
    if len(lines) > 1:
        half = len(lines) // 2
        return [*_pieces(lines[:half], fits), *_pieces(lines[half:], fits)]
    (line,) = lines
    if len(line) < 2:
        return []  # the instruction alone fills the window
    half = line.rfind(" ", 1, len(line) // 2 + 1)
    half = half if half > 0 else len(line) // 2
    return [*_pieces([line[:half]], fits), *_pieces([line[half:]], fits)]
