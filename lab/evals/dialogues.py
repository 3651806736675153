"""
Dialogues with questions, and the turns that hold the answers.

They come from a file (`lab.evals.locomo`) or are written here from the small world of `lab-tiny`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from lab.evals.fingerprint import fingerprint
from lab.evals.talks import Question, Talk, write_talk
from lab.schemas.role import Role
from lab.schemas.said_message import SaidMessage

FIRST_DAY = datetime(2026, 1, 5, 9, tzinfo=UTC)
TURNS_A_DAY = 20
ONE, LAST, REPLY, TWO = "one turn", "the last of two", "a reply", "two turns"
"""Where the answer of a question stands that was written here."""


@dataclass(frozen=True)
class Said:
    """One turn: what was said, when, and by whom."""

    text: str
    at: datetime
    role: Role = Role.user
    name: str | None = None

    @property
    def speaker(self) -> str:
        """The name of who spoke, or else the role."""
        return self.name or self.role.value

    @property
    def message(self) -> SaidMessage:
        """The turn as the lab stores it."""
        return SaidMessage(role=self.role, name=self.name, content=self.text, said_at=self.at)


@dataclass(frozen=True)
class Asked:
    """A question of some kind, and the places of the turns that one must see to answer it."""

    text: str
    kind: str
    evidence: frozenset[int]


@dataclass(frozen=True)
class Dialogue:
    """What was said, oldest first, and what is asked afterwards."""

    said: tuple[Said, ...]
    asked: tuple[Asked, ...]


def write_dialogues(n_dialogues: int, *, n_facts: int, n_turns: int, seed: int) -> list[Dialogue]:
    """
    Write dialogues in which a quarter of the facts is changed and a quarter told in reply.

    Parameters
    ----------
    n_dialogues : int
        How many.
    n_facts, n_turns : int
        Of each dialogue, see `lab.evals.talks.write_talk`.
    seed : int
        Same seed, same dialogues.

    Raises
    ------
    InputError
        If the facts do not fit into the turns.
    """
    n_few = n_facts // 4
    return [
        _dialogue(
            write_talk(
                n_facts=n_facts,
                n_turns=n_turns,
                seed=seed * n_dialogues + number,
                n_updates=n_few,
                n_replies=n_few,
            )
        )
        for number in range(n_dialogues)
    ]


def fingerprint_of(dialogues: Sequence[Dialogue]) -> str:
    """Return what tells these dialogues from others."""
    return fingerprint(
        [
            (
                [(turn.speaker, turn.text) for turn in dialogue.said],
                [q.text for q in dialogue.asked],
            )
            for dialogue in dialogues
        ]
    )


def _dialogue(talk: Talk) -> Dialogue:
    said = tuple(
        Said(message.content or "", _moment(place), message.role)
        for place, message in enumerate(talk.messages)
    )
    return Dialogue(said, tuple(_questions(talk)))


def _moment(place: int) -> datetime:
    day, turn = divmod(place // 2, TURNS_A_DAY)
    return FIRST_DAY + timedelta(days=day, minutes=2 * turn + place % 2)


def _questions(talk: Talk) -> Iterator[Asked]:
    """Yield each question of the talk, and each two neighbours that were stated at once as one."""
    kinds = {"stated": ONE, "updated": LAST, "replied": REPLY}
    for question in talk.questions:
        yield Asked(question.text, kinds[question.kind], _evidence(question))
    stated = [question for question in talk.questions if question.kind == "stated"]
    for first, second in zip(stated[::2], stated[1::2], strict=False):
        text = f"{first.text.rstrip('?. ')}, and {second.text[0].lower()}{second.text[1:]}"
        yield Asked(text, TWO, _evidence(first) | _evidence(second))


def _evidence(question: Question) -> frozenset[int]:
    """Return the places of the user's message and, for a reply, of the question before it."""
    assert question.turn is not None  # of what was told
    place = 2 * question.turn
    return frozenset({place - 1, place} if question.kind == "replied" else {place})
