"""
Whether a model remembers what was said long before its window began.

Facts with invented names are stated over a long conversation, with other talk between them; each
is asked for at its end, with the lab's memory and without it, on the very same conversation.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from uuid import UUID

from lab.client import Lab
from lab.errors import InputError
from lab.evals.statistics import PairedComparison, Proportion, compare, proportion
from lab.schemas.chat_message import ChatMessage
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.role import Role
from lab.schemas.source_kind import SourceKind
from lab.schemas.summary import Summary
from lab.training import phrases
from lab.training.chatter import small_talk
from lab.training.facts import draw_slots, give_value
from lab.training.values import World

SAMPLE_TURNS = 16
"""Turns from which the tokens of a turn are estimated."""
CONCURRENT_QUESTIONS = 8
BATCH_TURNS = 32
"""Turns stored in one request."""
MESSAGES_A_TURN = 2
LEVELS = range(1, 5)
"""Of summaries, the master last."""
ACKNOWLEDGEMENT = "Noted."
ANSWER_TOKENS = 64
"""Enough to name a fact; it bounds the time of a model that goes on and on."""

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Question:
    """
    What is asked at the end.

    Attributes
    ----------
    text, value : str
        The question, and what a right answer holds.
    stated : str
        How the fact was said.
    turn : int
        Where it was said, from 0.
    """

    text: str
    value: str
    stated: str
    turn: int


@dataclass(frozen=True)
class Talk:
    """
    A conversation and what it leaves to ask.

    Attributes
    ----------
    turns : tuple of (str, str)
        What was said, and the reply.
    questions : tuple of Question
        One for each fact, in the order they were stated.
    """

    turns: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]

    @property
    def chance(self) -> float:
        """Share right of somebody who guesses among the values stated."""
        return 1 / len({question.value for question in self.questions})

    @property
    def fingerprint(self) -> str:
        """The same for the same talk, wherever it was written."""
        text = json.dumps([self.turns, [(q.text, q.value) for q in self.questions]])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Trial:
    """
    One question, answered with memory and without.

    Attributes
    ----------
    question : Question
        What was asked.
    distance : float
        Windows between the fact and the question.
    answer, answer_without : str
        With memory, and without it.
    seen : bool
        True when the fact stood in the window of the answer with memory.
    """

    question: Question
    distance: float
    answer: str
    answer_without: str
    seen: bool

    @property
    def right(self) -> bool:
        """True when the answer with memory holds the value."""
        return holds(self.answer, self.question.value)

    @property
    def right_without(self) -> bool:
        """True when the answer without memory holds the value."""
        return holds(self.answer_without, self.question.value)


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
    def beyond(self) -> list[Trial]:
        """The questions whose fact was said more than a window ago."""
        return [trial for trial in self.trials if trial.distance > 1]

    @property
    def with_memory(self) -> Proportion:
        """Share right beyond the window, with memory."""
        return proportion([trial.right for trial in self.beyond])

    @property
    def without_memory(self) -> Proportion:
        """Share right beyond the window, without memory."""
        return proportion([trial.right_without for trial in self.beyond])

    @property
    def found(self) -> Proportion:
        """Share of the facts beyond the window that the memory brought back into it."""
        return proportion([trial.seen for trial in self.beyond])

    @property
    def comparison(self) -> PairedComparison:
        """With memory against without, on the same questions."""
        return compare(
            [trial.right for trial in self.beyond],
            [trial.right_without for trial in self.beyond],
        )

    def kept(self, level: int) -> Proportion | None:
        """Return how many of the facts that summaries of a level cover stand in them, if any."""
        told = [s for s in self.summaries if s.level == level]
        kept = [
            holds(summary.text, question.value)
            for question in self.talk.questions
            for summary in told
            if summary.first_position <= MESSAGES_A_TURN * question.turn <= summary.last_position
        ]
        return proportion(kept) if kept else None

    def metrics(self) -> dict[str, object]:
        """Return the values that go to the database."""
        kept = {f"kept_at_level_{level}": self.kept(level) for level in LEVELS}
        return {
            **{name: found.value for name, found in kept.items() if found is not None},
            "model": self.model,
            "accuracy_with_memory": self.with_memory.value,
            "accuracy_with_memory_low": self.with_memory.low,
            "accuracy_with_memory_high": self.with_memory.high,
            "accuracy_without_memory": self.without_memory.value,
            "accuracy_without_memory_low": self.without_memory.low,
            "accuracy_without_memory_high": self.without_memory.high,
            "found_by_memory": self.found.value,
            "chance": self.talk.chance,
            "difference": self.comparison.difference,
            "p_value": self.comparison.p_value,
            "n_questions": len(self.beyond),
            "n_turns": len(self.talk.turns),
            "windows": len(self.talk.turns) * self.tokens_per_turn / self.context_length,
            "ms_per_stored_turn": 1000 * self.write_s / len(self.talk.turns),
            "ms_per_summarised_turn": 1000 * self.summarise_s / len(self.talk.turns),
            "ms_per_answer": 1000 * self.ask_s / (2 * len(self.trials)),
            "talk": self.talk.fingerprint,
        }


async def measure(
    lab: Lab,
    model: str,
    *,
    times_window: float,
    n_facts: int,
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
    seed : int
        Same seed, same conversation.
    on_progress : callable
        Called with questions asked and questions in all.
    """
    context_length = await window_of(lab, model)
    sample = write_talk(n_facts=0, n_turns=SAMPLE_TURNS, seed=seed)
    tokens_per_turn = await tokens_of(lab, model, sample) / SAMPLE_TURNS
    n_turns = ceil(times_window * context_length / tokens_per_turn)
    talk = write_talk(n_facts=n_facts, n_turns=n_turns, seed=seed)
    conversation = await lab.conversations.create(f"Evaluation {talk.fingerprint}")
    try:
        started = time.perf_counter()
        await hold(lab, conversation.id, talk)
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


def write_talk(*, n_facts: int, n_turns: int, seed: int) -> Talk:
    """
    Write a conversation in which `n_facts` facts are stated, with names no model has seen.

    Raises
    ------
    InputError
        If the facts do not fit into the turns.

    Examples
    --------
    >>> talk = write_talk(n_facts=2, n_turns=10, seed=1)
    >>> [question.turn for question in talk.questions]
    [0, 5]
    """
    if n_facts > n_turns:
        raise InputError(
            f"{n_facts} facts do not fit into {n_turns} turns; state fewer facts or talk longer."
        )
    world = World(seed, "eval")
    questions = []
    for number, slot in enumerate(draw_slots(world, n_facts)):
        stated, fact = phrases.state(world, give_value(slot))
        turn = number * n_turns // n_facts
        questions.append(
            Question(phrases.ask(world, world.pick(slot.asks)), fact.value, stated, turn)
        )
    facts = {question.turn: question.stated for question in questions}
    turns = (
        (facts[turn], ACKNOWLEDGEMENT) if turn in facts else small_talk(world)
        for turn in range(n_turns)
    )
    return Talk(tuple(turns), tuple(questions))


def holds(answer: str, value: str) -> bool:
    """
    Return whether an answer tells the value, as words of its own.

    >>> holds("Your dog is called Zamiko.", "zamiko"), holds("You are 34.", "3")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(value.casefold())}(?!\w)", answer.casefold()) is not None


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
        await hold(lab, conversation.id, talk)
        answer = await lab.chat(
            "OK",
            conversation=conversation.id,
            model=model,
            max_new_tokens=1,
            store=False,
            memory=False,
        )
    finally:
        await lab.conversations.delete(conversation.id)
    return sum(item.n_tokens for item in answer.receipt.items if item.kind is SourceKind.recent)


async def hold(lab: Lab, conversation_id: UUID, talk: Talk) -> None:
    """Store a talk as it was said, each turn with its embedding."""
    for start in range(0, len(talk.turns), BATCH_TURNS):
        await lab.conversations.add(
            conversation_id, list(messages_of(talk.turns[start : start + BATCH_TURNS]))
        )


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
            # Not stored: an answer must not be found by the next question.
            answer, without = [
                await lab.chat(
                    question.text,
                    conversation=conversation_id,
                    model=model,
                    seed=seed,
                    max_new_tokens=ANSWER_TOKENS,
                    store=False,
                    memory=memory,
                )
                for memory in (True, False)
            ]
        done += 1
        on_progress(done, len(talk.questions))
        distance = (len(talk.turns) - question.turn) * windows_per_turn
        seen = any(_tells(item, question) for item in answer.receipt.items if item.included)
        return Trial(question, distance, answer.text, without.text, seen)

    return tuple(await asyncio.gather(*map(ask, talk.questions)))


def _tells(item: ReceiptItem, question: Question) -> bool:
    """Return whether a piece of the window tells the fact: as it was said, or in a summary."""
    told = item.kind is SourceKind.summary and holds(item.text, question.value)
    return told or question.stated in item.text


def messages_of(turns: Sequence[tuple[str, str]]) -> Iterable[ChatMessage]:
    """Yield the messages of a talk as the lab stores them."""
    for said, reply in turns:
        yield ChatMessage(role=Role.user, content=said)
        yield ChatMessage(role=Role.assistant, content=reply)
