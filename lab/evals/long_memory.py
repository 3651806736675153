"""
Whether a model remembers what was said long before its window began.

Facts with invented names are stated over a long conversation, with other talk between them; some
are changed later. At its end each is asked for, and some that were never told, by each variant of
the lab: with its memory and without it, on the very same conversation.
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final
from uuid import UUID

from lab.client import Lab
from lab.errors import InputError
from lab.evals.statistics import PairedComparison, Proportion, compare, proportion
from lab.evals.talks import Question, Talk, hold, holds, write_talk
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.source_kind import SourceKind
from lab.schemas.summary import Summary

WHOLE, WITHOUT = "with memory", "without memory"
VARIANTS: Final[Mapping[str, Mapping[str, Any]]] = {
    WHOLE: {"memory": True},
    WITHOUT: {"memory": False},
    "without turns": {"memory": True, "settings": {"memory": {"top_k": 0}}},
    "without neighbours": {"memory": True, "settings": {"memory": {"neighbours": False}}},
    "without facts": {"memory": True, "settings": {"facts": {"enabled": False}}},
    "without summaries": {"memory": True, "settings": {"summaries": {"enabled": False}}},
}
"""The whole lab first, then what is left without one part of it: options of `lab.chat`."""

SAMPLE_TURNS = 16
"""Turns from which the tokens of a turn are estimated."""
CONCURRENT_QUESTIONS = 8
MESSAGES_A_TURN = 2
LEVELS = range(1, 5)
"""Of summaries, the master last."""
ANSWER_TOKENS = 64
"""Enough to name a fact; it bounds the time of a model that goes on and on."""
_DECLINES = re.compile(
    r"\b(?:do not|don['’]t|did not|didn['’]t|cannot|can['’]t|could not|couldn['’]t) "
    r"(?:\w+ )?(?:know|recall|remember|find|have|see|say|tell)\b"
    r"|\b(?:have not|haven['’]t|has not|hasn['’]t|had not|never|not been) "
    r"(?:\w+ )?(?:told|mentioned|said|shared|given|provided|stated)\b"
    r"|\bnot (?:sure|told|mentioned|stated|specified|provided)\b"
    r"|\bno (?:information|idea|record|mention)\b|\bunknown\b",
    re.IGNORECASE,
)

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Reply:
    """An answer, and whether the fact stood in the window from which it was given."""

    text: str
    seen: bool = False


@dataclass(frozen=True)
class Trial:
    """
    One question, answered by each variant.

    Attributes
    ----------
    question : Question
        What was asked.
    replies : mapping
        The answers by the name of the variant.
    distance : float or None
        Windows between the fact, as it was last stated, and the question; None for what was never
        told.
    """

    question: Question
    replies: Mapping[str, Reply]
    distance: float | None = None

    def right(self, variant: str) -> bool:
        """Return whether the variant's answer is right, see `is_right`."""
        return is_right(self.replies[variant].text, self.question)

    def verdict(self, variant: str = WHOLE) -> str:
        """Return in a few words how the answer is right or wrong."""
        reply, question = self.replies[variant], self.question
        if self.right(variant):
            return "right"
        if question.kind == "unknown":
            return "made up"
        if not reply.seen:
            return "not found"
        former = bool(question.former) and holds(reply.text, question.former)
        return "former value" if former else "misread"


@dataclass(frozen=True)
class Measurement:
    """What one run of the evaluation found."""

    model: str
    context_length: int
    talk: Talk
    tokens_per_turn: float
    trials: tuple[Trial, ...] = field(repr=False)
    write_s: float
    ask_s: float
    summaries: tuple[Summary, ...] = field(default=(), repr=False)
    summarise_s: float = 0.0

    @property
    def facts(self) -> list[Trial]:
        """The questions about what was told, in the window or beyond it."""
        return [trial for trial in self.trials if trial.distance is not None]

    @property
    def beyond(self) -> list[Trial]:
        """The questions whose fact was last stated more than a window ago."""
        return [trial for trial in self.trials if trial.distance is not None and trial.distance > 1]

    @property
    def kinds(self) -> dict[str, list[Trial]]:
        """The questions by kind: facts beyond the window, and what was never told."""
        unknown = [trial for trial in self.trials if trial.distance is None]
        trials = [*self.beyond, *unknown]
        return {
            kind: found
            for kind in ("stated", "updated", "unknown")
            if (found := [trial for trial in trials if trial.question.kind == kind])
        }

    @property
    def distances(self) -> list[float]:
        """Windows between each fact and its question, in the order of `facts`."""
        return [trial.distance for trial in self.facts if trial.distance is not None]

    @property
    def outcomes(self) -> dict[str, list[bool]]:
        """By variant, whether each question about a fact was answered right."""
        return {name: [trial.right(name) for trial in self.facts] for name in self.variants}

    @property
    def variants(self) -> list[str]:
        """The names of the variants, the whole lab first."""
        return list(self.trials[0].replies) if self.trials else []

    def accuracy(self, variant: str) -> Proportion:
        """Return the share right of the facts beyond the window."""
        return proportion([trial.right(variant) for trial in self.beyond])

    @property
    def accuracy_by_kind(self) -> dict[str, dict[str, Proportion]]:
        """Share right by variant and kind of question."""
        return {
            name: {
                kind: proportion([trial.right(name) for trial in trials])
                for kind, trials in self.kinds.items()
            }
            for name in self.variants
        }

    @property
    def found(self) -> Proportion:
        """Share of the facts beyond the window that the memory brought back into it."""
        return proportion([trial.replies[WHOLE].seen for trial in self.beyond])

    @property
    def contributions(self) -> dict[str, PairedComparison]:
        """The whole lab against each variant without a part, on the facts beyond the window."""
        whole = [trial.right(WHOLE) for trial in self.beyond]
        return {
            name: compare(whole, [trial.right(name) for trial in self.beyond])
            for name in self.variants
            if name != WHOLE
        }

    def kept(self, level: int) -> Proportion | None:
        """Return how many of the facts that summaries of a level cover stand in them, if any."""
        told = [summary for summary in self.summaries if summary.level == level]
        kept = [
            holds(summary.text, question.value)
            for question in self.talk.questions
            if question.turn is not None
            for summary in told
            if summary.first_position <= MESSAGES_A_TURN * question.turn <= summary.last_position
        ]
        return proportion(kept) if kept else None

    def metrics(self) -> dict[str, object]:
        """Return the values that go to the database."""
        values: dict[str, object] = {"model": self.model}
        for name, by_kind in self.accuracy_by_kind.items():
            key = name.replace(" ", "_")
            values |= _interval(f"accuracy_{key}", self.accuracy(name))
            for kind, share in by_kind.items():
                values |= _interval(f"{kind}_{key}", share)
        for name, worth in self.contributions.items():
            key = name.replace(" ", "_")
            values |= {f"lost_{key}": worth.difference, f"lost_{key}_p": worth.p_value}
        kept = {f"kept_at_level_{level}": self.kept(level) for level in LEVELS}
        values |= {name: share.value for name, share in kept.items() if share is not None}
        return values | {
            "found_by_memory": self.found.value,
            "chance": self.talk.chance,
            "n_questions": len(self.beyond),
            **{f"n_{kind}": len(trials) for kind, trials in self.kinds.items()},
            "n_turns": len(self.talk.turns),
            "windows": len(self.talk.turns) * self.tokens_per_turn / self.context_length,
            "ms_per_stored_turn": 1000 * self.write_s / len(self.talk.turns),
            "ms_per_summarised_turn": 1000 * self.summarise_s / len(self.talk.turns),
            "ms_per_answer": 1000 * self.ask_s / (len(self.variants) * len(self.trials)),
            "talk": self.talk.fingerprint,
        }


async def measure(
    lab: Lab,
    model: str,
    *,
    times_window: float,
    n_facts: int,
    n_updates: int = 0,
    n_unknown: int = 0,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Measurement:
    """
    Hold the conversation, let it be summarised, ask for every fact, and delete the conversation.

    Parameters
    ----------
    lab : Lab
        From `connect()`.
    model : str
        Who answers.
    times_window : float
        Length of the conversation, in windows of the model.
    n_facts : int
        Facts stated, spread evenly over the conversation.
    n_updates : int
        How many of them are changed later: then the last statement is the right answer.
    n_unknown : int
        Questions about what was never told: the right answer is not to know it.
    seed : int
        Same seed, same conversation.
    on_progress : callable
        Called with questions asked and questions in all.
    """
    context_length = await window_of(lab, model)
    sample = write_talk(n_facts=0, n_turns=SAMPLE_TURNS, seed=seed)
    tokens_per_turn = await tokens_of(lab, model, sample) / SAMPLE_TURNS
    talk = write_talk(
        n_facts=n_facts,
        n_turns=ceil(times_window * context_length / tokens_per_turn),
        seed=seed,
        n_updates=n_updates,
        n_unknown=n_unknown,
    )
    conversation = await lab.conversations.create(f"Evaluation {talk.fingerprint}")
    try:
        started = time.perf_counter()
        await hold(lab, conversation.id, talk.messages)
        written = time.perf_counter()
        await lab.conversations.summarise(conversation.id)
        summaries = await summaries_of(lab, conversation.id)
        summarised = time.perf_counter()
        windows_per_turn = tokens_per_turn / context_length
        trials = await _ask_all(
            lab, model, conversation.id, talk, windows_per_turn, seed, on_progress
        )
        asked = time.perf_counter()
    finally:
        await lab.conversations.delete(conversation.id)
    return Measurement(
        model,
        context_length,
        talk,
        tokens_per_turn,
        trials,
        write_s=written - started,
        ask_s=asked - summarised,
        summaries=summaries,
        summarise_s=summarised - written,
    )


def is_right(answer: str, question: Question) -> bool:
    """
    Return whether an answer is right.

    It has to tell the value, and not the one that held before a change, which alone or beside the
    last one leaves open what is true. Of what was never told it has to say that it does not know.

    >>> is_right("In Oslo.", Question("Where do I live?", "Oslo", former="Rome", kind="updated"))
    True
    """
    if question.kind == "unknown":
        return declines(answer)
    former = bool(question.former) and holds(answer, question.former)
    return holds(answer, question.value) and not former


def declines(answer: str) -> bool:
    """
    Return whether an answer says that it does not know.

    >>> declines("I don't know, you have not told me."), declines("Your dog is called Zamiko.")
    (True, False)
    """
    return _DECLINES.search(answer) is not None


async def window_of(lab: Lab, model: str) -> int:
    """
    Return the tokens of a model's window.

    Raises
    ------
    InputError
        If the lab has no such model or does not know its window.
    """
    lengths = {found.id: found.context_length for found in await lab.models()}
    length = lengths.get(model)
    if length is None:
        raise InputError(f"The window of `{model}` is unknown; models here: {', '.join(lengths)}.")
    return length


async def tokens_of(lab: Lab, model: str, talk: Talk) -> int:
    """Return the tokens that a short talk takes in the model's window."""
    conversation = await lab.conversations.create("Evaluation sample")
    try:
        await hold(lab, conversation.id, talk.messages)
        window = await lab.window("OK", conversation=conversation.id, model=model, memory=False)
    finally:
        await lab.conversations.delete(conversation.id)
    return sum(item.n_tokens for item in window.receipt.items if item.kind is SourceKind.recent)


async def summaries_of(lab: Lab, conversation_id: UUID) -> tuple[Summary, ...]:
    """Return all summaries of a conversation, level by level."""
    found: list[Summary] = []
    for level in LEVELS:
        before: int | None = None
        while page := await lab.conversations.summaries(
            conversation_id, level=level, before_position=before
        ):
            before = page[0].first_position
            found += page
    return tuple(found)


async def _ask_all(
    lab: Lab,
    model: str,
    conversation_id: UUID,
    talk: Talk,
    windows_per_turn: float,
    seed: int,
    on_progress: OnProgress,
) -> tuple[Trial, ...]:
    places = asyncio.Semaphore(CONCURRENT_QUESTIONS)
    done = 0

    async def ask(question: Question) -> Trial:
        nonlocal done
        async with places:
            replies = {
                name: await _ask(lab, model, conversation_id, question, seed, options)
                for name, options in VARIANTS.items()
            }
        done += 1
        on_progress(done, len(talk.questions))
        return Trial(question, replies, _distance(talk, question, windows_per_turn))

    return tuple(await asyncio.gather(*map(ask, talk.questions)))


async def _ask(
    lab: Lab,
    model: str,
    conversation_id: UUID,
    question: Question,
    seed: int,
    options: Mapping[str, Any],
) -> Reply:
    # Not stored: an answer must not be found by the next question.
    answer = await lab.chat(
        question.text,
        conversation=conversation_id,
        model=model,
        seed=seed,
        max_new_tokens=ANSWER_TOKENS,
        store=False,
        **options,
    )
    seen = any(_tells(item, question) for item in answer.receipt.items if item.included)
    return Reply(answer.text, seen)


def _tells(item: ReceiptItem, question: Question) -> bool:
    """Return whether a piece of the window tells the fact: as it was said, or in a summary."""
    if not question.stated:
        return False
    told = item.kind is SourceKind.summary and holds(item.text, question.value)
    return told or question.stated in item.text


def _distance(talk: Talk, question: Question, windows_per_turn: float) -> float | None:
    if question.turn is None:
        return None
    return (len(talk.turns) - question.turn) * windows_per_turn


def _interval(name: str, share: Proportion) -> dict[str, object]:
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
