"""
Talks in which facts are told, with other talk between them, and what they leave to ask.

Facts have invented names, so that nobody can answer who was not told. Some are changed later, some
come as a reply to the assistant's question, and some that are asked for were never told.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from lab.client import Lab
from lab.errors import InputError
from lab.evals.fingerprint import fingerprint
from lab.schemas.chat_message import ChatMessage
from lab.schemas.message import Message
from lab.schemas.role import Role
from lab.training import phrases
from lab.training.chatter import small_talk
from lab.training.facts import Fact, draw_slots, give_value
from lab.training.slots import Slot
from lab.training.values import World

Kind = Literal["stated", "updated", "replied", "unknown"]

ACKNOWLEDGEMENT = "Noted."
BATCH_MESSAGES = 64
"""Messages stored in one request."""
_ASKING = ("What", "Where", "When", "Which", "Who", "How", "In which", "At what", "On which")
_TO_YOU = {"was i": "were you", "am i": "are you", "my": "your", "i": "you", "we": "you"}


@dataclass(frozen=True)
class Question:
    """
    What is asked at the end.

    Attributes
    ----------
    text, value : str
        The question, and what a right answer holds; no value for what was never told.
    stated : str
        How the fact was said, the last time where it was changed.
    turn : int or None
        Where it was said that time, from 0.
    kind : {"stated", "updated", "replied", "unknown"}
        How it was told: at once, changed later, when asked for, or never.
    former : str
        The value before the change.
    """

    text: str
    value: str = ""
    stated: str = ""
    turn: int | None = None
    kind: Kind = "stated"
    former: str = ""


@dataclass(frozen=True)
class Talk:
    """
    A conversation and what it leaves to ask.

    Attributes
    ----------
    turns : tuple of (str, str)
        What was said, and the reply.
    questions : tuple of Question
        One for each fact, in the order they were last stated; then those about nothing told.
    """

    turns: tuple[tuple[str, str], ...]
    questions: tuple[Question, ...]

    @property
    def chance(self) -> float:
        """Share right of somebody who guesses among the values stated."""
        return 1 / len({question.value for question in self.questions if question.value})

    @property
    def messages(self) -> list[ChatMessage]:
        """The turns as messages, two each."""
        return [
            ChatMessage(role=role, content=text)
            for turn in self.turns
            for role, text in zip((Role.user, Role.assistant), turn, strict=True)
        ]

    @property
    def fingerprint(self) -> str:
        """The same for the same talk, wherever it was written."""
        return fingerprint([self.turns, [(q.text, q.value) for q in self.questions]])


@dataclass(frozen=True)
class _Statement:
    """A fact as it is said once; `cue` is what the assistant asked before."""

    slot: Slot
    value: str
    text: str
    kind: Kind = "stated"
    former: str = ""
    cue: str = ""


def write_talk(
    *,
    n_facts: int,
    n_turns: int,
    seed: int,
    n_updates: int = 0,
    n_replies: int = 0,
    n_unknown: int = 0,
) -> Talk:
    """
    Write a conversation in which facts are told, with names no model has seen.

    Parameters
    ----------
    n_facts : int
        Facts told, spread evenly over the conversation.
    n_turns : int
        Turns, each with its reply.
    seed : int
        Same seed, same conversation.
    n_updates : int
        How many of the facts are changed later.
    n_replies : int
        How many of the facts come as a bare reply to the assistant's question.
    n_unknown : int
        Questions about what was never told.

    Raises
    ------
    InputError
        If the facts do not fit into the turns, or a count is below 0.

    Examples
    --------
    >>> talk = write_talk(n_facts=2, n_turns=10, seed=1)
    >>> [question.turn for question in talk.questions]
    [0, 5]
    """
    _check(n_facts, n_turns, n_updates, n_replies, n_unknown)
    world = World(seed, "eval")
    slots = draw_slots(world, n_facts + n_unknown)
    order = _statements(world, slots[:n_facts], n_updates, n_replies)
    last = {statement.slot.key: statement for statement in order}
    said: dict[int, tuple[str, str]] = {}
    cues: dict[int, str] = {}
    questions: list[Question] = []
    for number, told in enumerate(order):
        turn = number * n_turns // len(order)
        if told.cue:
            cues[turn] = told.cue
            turn += 1
        said[turn] = told.text, ACKNOWLEDGEMENT
        if last[told.slot.key] is told:
            text = phrases.ask(world, world.pick(told.slot.asks))
            questions.append(Question(text, told.value, told.text, turn, told.kind, told.former))
    questions += [
        Question(phrases.ask(world, world.pick(slot.asks)), kind="unknown")
        for slot in slots[n_facts:]
    ]
    return Talk(tuple(_turns(world, n_turns, said, cues)), tuple(questions))


async def hold(lab: Lab, conversation_id: UUID, messages: Sequence[ChatMessage]) -> list[Message]:
    """Store messages as they were said, each with its embedding."""
    stored: list[Message] = []
    for start in range(0, len(messages), BATCH_MESSAGES):
        batch = messages[start : start + BATCH_MESSAGES]
        stored += await lab.conversations.add(conversation_id, batch)
    return stored


def holds(answer: str, value: str) -> bool:
    """
    Return whether an answer tells the value, as words of its own.

    >>> holds("Your dog is called Zamiko.", "zamiko"), holds("You are 34.", "3")
    (True, False)
    """
    return re.search(rf"(?<!\w){re.escape(value.casefold())}(?!\w)", answer.casefold()) is not None


def _check(n_facts: int, n_turns: int, n_updates: int, n_replies: int, n_unknown: int) -> None:
    if min(n_facts, n_updates, n_replies, n_unknown) < 0:
        raise InputError(
            f"A talk has {n_facts} facts, {n_updates} changes, {n_replies} replies and {n_unknown} "
            "unknowns; expected none below 0."
        )
    if n_updates + n_replies > n_facts:
        raise InputError(
            f"Of {n_facts} facts, {n_updates} cannot be changed later and {n_replies} others told "
            "in reply; state more facts."
        )
    n_statements = n_facts + n_updates
    n_needed = n_statements * (2 if n_replies else 1)
    if n_needed > n_turns:
        raise InputError(
            f"{n_statements} statements do not fit into {n_turns} turns, they need {n_needed}; "
            "state fewer facts or talk longer."
        )


def _statements(
    world: World, slots: Sequence[Slot], n_updates: int, n_replies: int
) -> list[_Statement]:
    """Return what is said of the facts in its order, each change after what it changes."""
    updated = _evenly(range(len(slots)), n_updates)
    replied = _evenly([i for i in range(len(slots)) if i not in updated], n_replies)
    firsts = [_reply(world, s) if i in replied else _state(world, s) for i, s in enumerate(slots)]
    order = list(firsts)
    for number in updated:
        after = order.index(firsts[number]) + 1
        order.insert(world.random.randint(after, len(order)), _change(world, firsts[number]))
    return order


def _evenly(places: Sequence[int], n: int) -> list[int]:
    return [places[i * len(places) // n] for i in range(n)]


def _state(world: World, slot: Slot) -> _Statement:
    text, fact = phrases.state(world, _fact(slot))
    return _Statement(slot, fact.value, text)


def _change(world: World, first: _Statement) -> _Statement:
    fact = _fact(first.slot)
    while holds(fact.value, first.value) or holds(first.value, fact.value):
        fact = _fact(first.slot)
    text, fact = phrases.state(world, fact, change=True)
    return _Statement(first.slot, fact.value, text, "updated", first.value)


def _reply(world: World, slot: Slot) -> _Statement:
    value = _fact(slot).value
    asks = [ask for ask in slot.asks if ask.startswith(_ASKING)]
    text = f"{value[0].upper()}{value[1:]}."
    return _Statement(slot, value, text, "replied", cue=_to_you(world.pick(asks)))


def _fact(slot: Slot) -> Fact:
    """Give a slot a value that its questions do not tell, as "cheese" for the favourite cheese."""
    fact = give_value(slot)
    while any(holds(ask, fact.value) for ask in slot.asks):
        fact = give_value(slot)
    return fact


def _to_you(question: str) -> str:
    """
    Return a user's question as the assistant would ask it.

    >>> _to_you("When was I born?"), _to_you("What is my dog called?")
    ('When were you born?', 'What is your dog called?')
    """
    words = "|".join(_TO_YOU)
    return re.sub(rf"\b({words})\b", lambda m: _TO_YOU[m[0].lower()], question, flags=re.IGNORECASE)


def _turns(
    world: World, n_turns: int, said: dict[int, tuple[str, str]], cues: dict[int, str]
) -> Iterator[tuple[str, str]]:
    for turn in range(n_turns):
        if turn in said:
            yield said[turn]
        else:
            text, reply = small_talk(world)
            yield text, cues.get(turn, reply)
