"""
Whether a model uses the lab's tools: the right one, with the right arguments, and its result.

The requests come from the generator that made the training data of `lab-tiny`, from the half of
its world that training never sees; the lab runs what the model calls. Between them stand questions
about what was said before, for which no tool is due.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lab.client import Lab
from lab.client.answer import Answer
from lab.evals.statistics import Proportion, proportion
from lab.evals.talks import Question, holds, write_talk
from lab.schemas.chat_message import ChatMessage
from lab.schemas.role import Role
from lab.training.tools import DATE_ASKS, TIME_ASKS, sum_request
from lab.training.values import World

AIM: Final = 0.90
"""Share of dialogues in which all should be right."""
TOOLS: Final = ("calculator", "current_time")
"""What is offered in every dialogue."""
N_FACTS, N_TURNS = 2, 3
"""Of the talk before the request."""
CONCURRENT: Final = 8
ANSWER_TOKENS: Final = 64

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Task:
    """
    A request at the end of a short talk.

    Attributes
    ----------
    kind : str
        What is asked for.
    messages : tuple of ChatMessage
        The talk, and the request.
    tool : str or None
        What must be called; None where no tool is due.
    arguments : mapping
        With which arguments.
    value : str
        What the answer must hold; with a tool, a pattern of what it must hold of the result.
    """

    kind: str
    messages: tuple[ChatMessage, ...]
    tool: str | None
    arguments: Mapping[str, Any]
    value: str

    @property
    def request(self) -> str:
        """The request itself."""
        return self.messages[-1].content or ""


@dataclass(frozen=True)
class Trial:
    """A task and what the model did."""

    task: Task
    answer: Answer

    @property
    def right_tool(self) -> bool:
        """Whether it called what it had to, once, and nothing else."""
        wanted = [self.task.tool] if self.task.tool else []
        return [use.call.name for use in self.answer.tool_uses] == wanted

    @property
    def right_arguments(self) -> bool:
        """Whether it called it with the right arguments."""
        return self.right_tool and all(
            _plain(use.call.arguments) == _plain(self.task.arguments)
            for use in self.answer.tool_uses
        )

    @property
    def right_answer(self) -> bool:
        """Whether the answer holds what the tool told, or what was said."""
        if self.task.tool is None:
            return holds(self.answer.text, self.task.value)
        found = [re.search(self.task.value, use.text) for use in self.answer.tool_uses]
        return any(told is not None and holds(self.answer.text, told[0]) for told in found)

    @property
    def right(self) -> bool:
        """Whether all of it is right."""
        return self.right_tool and self.right_arguments and self.right_answer


@dataclass(frozen=True)
class Measurement:
    """What one run of the evaluation found."""

    model: str
    trials: tuple[Trial, ...]

    @property
    def accuracy(self) -> Proportion:
        """Share of dialogues in which all was right."""
        return proportion([trial.right for trial in self.trials])

    @property
    def steps(self) -> dict[str, Proportion]:
        """Share of the right tools, arguments and answers, of the dialogues that need a tool."""
        due = [trial for trial in self.trials if trial.task.tool]
        return {
            "right tool": proportion([trial.right_tool for trial in due]),
            "right arguments": proportion([trial.right_arguments for trial in due]),
            "answer from the result": proportion([trial.right_answer for trial in due]),
        }

    @property
    def kinds(self) -> dict[str, Proportion]:
        """Share of dialogues in which all was right, by what was asked for."""
        names = dict.fromkeys(trial.task.kind for trial in self.trials)
        return {
            name: proportion([t.right for t in self.trials if t.task.kind == name])
            for name in names
        }

    def metrics(self) -> dict[str, object]:
        """Return the values that go to the database."""
        values: dict[str, object] = {"model": self.model, "n_dialogues": len(self.trials)}
        for name, share in {"accuracy": self.accuracy, **self.steps, **self.kinds}.items():
            key = name.replace(" ", "_")
            values |= {key: share.value, f"{key}_low": share.low, f"{key}_high": share.high}
        return values | {"aim_met": self.accuracy.value >= AIM}


async def measure(
    lab: Lab,
    model: str,
    *,
    n_dialogues: int,
    seed: int = 0,
    on_progress: OnProgress = lambda done, total: None,
) -> Measurement:
    """
    Hold short talks that end with a request, and look what the model does with the lab's tools.

    Parameters
    ----------
    lab : Lab
        From `connect()`.
    model : str
        Who answers.
    n_dialogues : int
        How many; a quarter of each kind.
    seed : int
        Same seed, same dialogues.
    on_progress : callable
        Called with dialogues held and dialogues in all.
    """
    tasks = write_tasks(n_dialogues, seed)
    places, done = asyncio.Semaphore(CONCURRENT), 0

    async def held(task: Task) -> Trial:
        nonlocal done
        async with places:
            answer = await lab.chat(
                task.messages,
                model=model,
                seed=seed,
                temperature=0,
                max_new_tokens=ANSWER_TOKENS,
                settings={"tools": {"enabled": list(TOOLS)}},
            )
        done += 1
        on_progress(done, len(tasks))
        return Trial(task, answer)

    return Measurement(model, tuple(await asyncio.gather(*map(held, tasks))))


def write_tasks(n_dialogues: int, seed: int) -> list[Task]:
    """Return tasks of each kind in turn; the same seed gives the same tasks."""
    kinds = (_sum, _time, _date, _recall)
    return [kinds[i % len(kinds)](seed * n_dialogues + i) for i in range(n_dialogues)]


def _sum(seed: int) -> Task:
    request, expression, _ = sum_request(World(seed, "eval"))
    messages = _talk(seed)[0]
    arguments = {"expression": expression}
    return Task("sum", (*messages, _user(request)), "calculator", arguments, r"^.+$")


def _time(seed: int) -> Task:
    request = World(seed, "eval").pick(TIME_ASKS.split("|"))
    return Task("time", (*_talk(seed)[0], _user(request)), "current_time", {}, r"\d\d:\d\d")


def _date(seed: int) -> Task:
    request = World(seed, "eval").pick(DATE_ASKS.split("|"))
    pattern = r"\d{4}-\d\d-\d\d"
    return Task("date", (*_talk(seed)[0], _user(request)), "current_time", {}, pattern)


def _recall(seed: int) -> Task:
    messages, questions = _talk(seed)
    asked = questions[seed % len(questions)]
    return Task("no tool", (*messages, _user(asked.text)), None, {}, asked.value)


def _talk(seed: int) -> tuple[list[ChatMessage], Sequence[Question]]:
    talk = write_talk(n_facts=N_FACTS, n_turns=N_TURNS, seed=seed)
    return talk.messages, talk.questions


def _user(text: str) -> ChatMessage:
    return ChatMessage(role=Role.user, content=text)


def _plain(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Return arguments without white space, which means nothing to a calculator."""
    return {name: "".join(str(value).split()) for name, value in arguments.items()}
