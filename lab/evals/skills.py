"""What the bundled model should be able to do, beside what it can."""

from collections.abc import Sequence

from lab.evals.statistics import Proportion, wilson
from lab.training.judging import Rate

AIMS = {
    "recall": 0.95,
    "last_wins": 0.90,
    "unknown": 0.90,
    "tool_call": 0.97,
    "no_call": 0.97,
    "tool_answer": 0.90,
    "intent": 0.95,
    "title": 0.85,
    "summary, facts kept": 0.85,
}
"""Share of right answers that each skill should reach."""


def scores(rates: Sequence[Rate]) -> dict[str, Proportion]:
    """Return each skill with its interval; those with an aim first."""
    found = {rate.skill: wilson(rate.n_right, rate.n) for rate in rates}
    names = [name for name in AIMS if name in found]
    return {name: found[name] for name in (*names, *sorted(found.keys() - set(names)))}


def metrics(rates: Sequence[Rate]) -> dict[str, object]:
    """Return the values that go to the database."""
    values: dict[str, object] = {}
    for name, score in scores(rates).items():
        key = name.replace(", ", "_").replace(" ", "_").replace("-", "_")
        values |= {key: score.value, f"{key}_low": score.low, f"{key}_n": score.n}
    return values | {"aims_met": not missed(rates)}


def missed(rates: Sequence[Rate]) -> list[str]:
    """Return the skills that stay under their aim, or were not measured."""
    found = scores(rates)
    return [name for name, aim in AIMS.items() if name not in found or found[name].value < aim]
