"""
Whether the turns that answer a question come back into the window, whatever its size.

Dialogues are stored as the lab stores any; for each question the lab says what it would put into
windows of several sizes, without answering. The turns that hold the answer are known.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from lab.client import Lab
from lab.errors import InputError
from lab.evals import locomo
from lab.evals.dialogues import Asked, Dialogue, Said, fingerprint_of, write_dialogues
from lab.evals.evidence import Outcome, Scores, judge, score, score_by_kind
from lab.evals.statistics import Proportion
from lab.evals.talks import hold
from lab.schemas.receipt import Receipt
from lab.schemas.receipt_item import ReceiptItem
from lab.schemas.source_kind import SourceKind

CONCURRENT_QUESTIONS = 4


@dataclass(frozen=True)
class Trial:
    """
    One question.

    Attributes
    ----------
    dialogue : Dialogue
        In which it is asked.
    question : Asked
        With its evidence.
    outcome : Outcome
        How it fared.
    largest : frozenset of int
        Places of the turns that stand in the largest window.
    """

    dialogue: Dialogue = field(repr=False)
    question: Asked
    outcome: Outcome
    largest: frozenset[int] = field(repr=False)

    @property
    def evidence(self) -> list[Said]:
        """The turns that one must see to answer, oldest first."""
        return [self.dialogue.said[place] for place in sorted(self.question.evidence)]

    @property
    def missing(self) -> list[Said]:
        """Those that are not even in the largest window."""
        places = sorted(self.question.evidence - self.largest)
        return [self.dialogue.said[place] for place in places]


@dataclass(frozen=True)
class Measurement:
    """What one run of the evaluation found."""

    model: str
    dialogues: tuple[Dialogue, ...] = field(repr=False)
    trials: tuple[Trial, ...] = field(repr=False)
    write_s: float
    ask_s: float

    @property
    def budgets(self) -> list[int]:
        """Tokens of the windows."""
        return list(self.scores.recall)

    @property
    def scores(self) -> Scores:
        """Of all questions."""
        return score([trial.outcome for trial in self.trials])

    @property
    def by_kind(self) -> dict[str, Scores]:
        """Scores by kind of question."""
        return score_by_kind([trial.outcome for trial in self.trials])

    @property
    def n_turns(self) -> int:
        """Turns stored."""
        return sum(len(dialogue.said) for dialogue in self.dialogues)

    def by_kind_at(self, tokens: int) -> dict[str, dict[str, Proportion]]:
        """Return by measure, then by kind, what does not depend on the window, and what does."""
        every = {"all questions": self.scores, **self.by_kind}
        return {
            "among the first 10": {kind: s.recall_at_10 for kind, s in every.items()},
            "reciprocal rank": {kind: s.reciprocal_rank for kind, s in every.items()},
            f"all of it in {tokens:,} tokens": {
                k: s.all_evidence[tokens] for k, s in every.items()
            },
        }

    def metrics(self) -> dict[str, object]:
        """Return the values that go to the database."""
        values: dict[str, object] = {"model": self.model, "n_questions": len(self.trials)}
        for name, share in _values(self.scores):
            values |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        for kind, scores in self.by_kind.items():
            key = kind.replace(" ", "_")
            values |= {f"{key}_{name}": share.value for name, share in _values(scores)}
            values[f"{key}_n"] = scores.n
        return values | {
            "n_dialogues": len(self.dialogues),
            "n_turns": self.n_turns,
            "ms_per_stored_turn": 1000 * self.write_s / self.n_turns,
            "ms_per_window": 1000 * self.ask_s / (len(self.trials) * len(self.budgets)),
            "dialogues": fingerprint_of(self.dialogues),
        }

    def table(self) -> str:
        """Return the recall by kind and window as text."""
        every = {"all questions": self.scores, **self.by_kind}
        head = f"{'tokens of the window':<24}" + "".join(f"{b:>22,}" for b in self.budgets)
        rows = [
            f"{f'{kind} ({scores.n})':<24}"
            + "".join(f"{scores.recall[budget]!s:>22}" for budget in self.budgets)
            for kind, scores in every.items()
        ]
        return "\n".join([head, *rows])


def dialogues_of(
    data: str, *, n_dialogues: int, n_facts: int, n_turns: int, seed: int
) -> list[Dialogue]:
    """
    Return the dialogues of a file, or those that the seed writes where no file is named.

    Parameters
    ----------
    data : str
        Path of a file in LoCoMo's format; empty for none.
    n_dialogues, n_facts, n_turns, seed : int
        Of what is written, see `lab.evals.dialogues.write_dialogues`.

    Raises
    ------
    InputError
        If the file cannot be read, or the facts do not fit into the turns.
    """
    if data:
        return locomo.read_dialogues(Path(data).expanduser())
    return write_dialogues(n_dialogues, n_facts=n_facts, n_turns=n_turns, seed=seed)


async def measure(
    lab: Lab,
    model: str,
    dialogues: Sequence[Dialogue],
    *,
    budgets: Sequence[int],
    memory_share: float = 1.0,
    top_k: int = 200,
    min_score: float = -1.0,
) -> Measurement:
    """
    Store each dialogue, ask for the windows of its questions, and delete it again.

    Parameters
    ----------
    lab : Lab
        From `connect()`.
    model : str
        Whose tokens are counted, and whose chat template.
    dialogues : sequence of Dialogue
        With their questions.
    budgets : sequence of int
        Tokens of the windows: the question and all that is put before it.
    memory_share : float
        Most of a window that memories may take.
    top_k : int
        Most memories in a window.
    min_score : float
        Least similarity of a memory that shares no word with the question.

    Raises
    ------
    InputError
        If there is no question, or no budget.
    """
    if not budgets or not any(dialogue.asked for dialogue in dialogues):
        raise InputError(
            f"There are {sum(len(d.asked) for d in dialogues)} questions and {len(budgets)} "
            "budgets; give at least one of each."
        )
    settings: dict[str, dict[str, Any]] = {
        "context": {"system_prompt": "", "answer_tokens": 1, "memory_share": memory_share},
        "memory": {"top_k": top_k, "min_score": min_score, "scope": "conversation"},
        # They are written meanwhile: a window would depend on how many there are already.
        "summaries": {"enabled": False},
    }
    trials: list[Trial] = []
    write_s = ask_s = 0.0
    for dialogue in dialogues:
        conversation = await lab.conversations.create(f"Evaluation {fingerprint_of([dialogue])}")
        try:
            started = time.perf_counter()
            stored = await hold(lab, conversation.id, [turn.message for turn in dialogue.said])
            written = time.perf_counter()
            asking = _Asking(lab, model, conversation.id, sorted(budgets), settings)
            trials += await asking.all_of(dialogue, [message.id for message in stored])
            write_s += written - started
            ask_s += time.perf_counter() - written
        finally:
            await lab.conversations.delete(conversation.id)
    return Measurement(model, tuple(dialogues), tuple(trials), write_s, ask_s)


@dataclass(frozen=True)
class _Asking:
    """Asks the questions of a stored dialogue."""

    lab: Lab
    model: str
    conversation_id: UUID
    budgets: Sequence[int]
    settings: Mapping[str, Mapping[str, Any]]

    async def all_of(self, dialogue: Dialogue, stored: Sequence[UUID]) -> list[Trial]:
        """Return a trial for each question; `stored` are the messages of the dialogue's turns."""
        places = {id: place for place, id in enumerate(stored)}
        turns = asyncio.Semaphore(CONCURRENT_QUESTIONS)

        async def ask(question: Asked) -> Trial:
            async with turns:
                receipts = {
                    tokens: await self._receipt(question, tokens) for tokens in self.budgets
                }
            windows = {tokens: _in_window(r, places) for tokens, r in receipts.items()}
            largest = self.budgets[-1]
            outcome = judge(question, _ranking(receipts[largest], places), windows)
            return Trial(dialogue, question, outcome, frozenset(windows[largest]))

        return list(await asyncio.gather(*map(ask, dialogue.asked)))

    async def _receipt(self, question: Asked, tokens: int) -> Receipt:
        window = await self.lab.window(
            question.text,
            model=self.model,
            conversation=self.conversation_id,
            memory=True,
            context_length=tokens + self.settings["context"]["answer_tokens"],
            settings=self.settings,
        )
        return window.receipt


def _in_window(receipt: Receipt, places: Mapping[UUID, int]) -> set[int]:
    """Return the turns that stand in the window, as memories or as recent talk."""
    return set(_placed([item for item in receipt.items if item.included], places))


def _ranking(receipt: Receipt, places: Mapping[UUID, int]) -> list[int]:
    """Return the turns that were found, best first."""
    found = [item for item in receipt.items if item.kind is SourceKind.memory]
    return list(_placed(sorted(found, key=lambda item: -(item.score or 0)), places))


def _placed(items: Iterable[ReceiptItem], places: Mapping[UUID, int]) -> Iterator[int]:
    for item in items:
        if item.source_id is not None and item.source_id in places:
            yield places[item.source_id]


def _values(scores: Scores) -> Iterator[tuple[str, Proportion]]:
    for tokens, share in scores.recall.items():
        yield f"recall_in_{tokens}_tokens", share
    for tokens, share in scores.all_evidence.items():
        yield f"all_evidence_in_{tokens}_tokens", share
    yield "recall_at_10", scores.recall_at_10
    yield "mrr", scores.reciprocal_rank
