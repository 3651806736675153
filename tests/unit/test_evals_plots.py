from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from lab.errors import InputError
from lab.evals import plots, skills
from lab.evals.statistics import wilson
from lab.schemas.receipt import Receipt
from lab.training.judging import Rate


def texts_of(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_both_arms_and_chance_are_named_in_the_picture() -> None:
    figure = plots.accuracy_by_distance(
        [0.5, 2.0, 3.0], {"with": [True] * 3, "without": [True, False, False]}, chance=0.25
    )

    assert {"with", "without", "chance 25%"} <= set(texts_of(figure))


def test_questions_in_the_window_make_a_point_of_their_own() -> None:
    figure = plots.accuracy_by_distance([0.1, 0.9, 4.0, 5.0], {"a": [True] * 4}, chance=0, n_bins=1)

    (line,) = (line for line in figure.axes[0].lines if line.get_marker() == "o")
    assert np.asarray(line.get_xdata()).tolist() == pytest.approx([0.5, 4.5])


def test_a_notebook_gets_a_picture() -> None:
    receipt = Receipt(model="m", context_length=100, answer_tokens=20, n_tokens=0, items=[])

    assert plots.window_of(receipt)._repr_png_().startswith(b"\x89PNG")


def test_a_skill_under_its_aim_has_another_colour() -> None:
    figure = plots.scores_against_aims(
        {"a": wilson(9, 10), "b": wilson(5, 10)}, {"a": 0.9, "b": 0.9}
    )

    good, bad = (bar.get_facecolor() for bar in figure.axes[0].patches)
    assert good != bad


def test_skills_with_an_aim_come_first_and_what_misses_it_is_named() -> None:
    rates = [Rate("json", 1, 2), Rate("unknown", 1, 10), Rate("recall", 10, 10)]

    assert list(skills.scores(rates)) == ["recall", "unknown", "json"]
    assert "unknown" in skills.missed(rates)
    assert "recall" not in skills.missed(rates)
    assert skills.metrics(rates)["aims_met"] is False


def test_each_kind_of_question_is_named_at_the_end_of_its_line() -> None:
    low, high = {512: wilson(5, 10), 1024: wilson(9, 10)}, {512: wilson(9, 10), 1024: wilson(9, 10)}

    figure = plots.recall_by_budget(low, {"one turn": high, "two turns": low})

    assert {"all questions", "one turn", "two turns", "50%", "90%"} <= set(texts_of(figure))
    heights = [
        text.xy[1]
        for text in figure.axes[0].texts
        if isinstance(text, Annotation) and not text.get_text().endswith("%")
    ]
    gaps = [a - b for a, b in pairwise(heights)]
    assert min(gaps) > 0.05  # names that would lie on each other are moved apart


def test_arms_stand_side_by_side_for_each_kind() -> None:
    figure = plots.shares_by_kind(
        {"with": {"stated": wilson(9, 10)}, "without": {"stated": wilson(0, 10)}}, "right answers"
    )

    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["stated"]
    assert texts_of(figure) == ["90%", "0%"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["with", "without"]


def test_a_training_shows_its_phases() -> None:
    figure = plots.training_curve([100, 200, 300], [3.0, 2.0, 1.5], ["easy", "easy", "hard"])

    assert {"easy", "hard"} <= set(texts_of(figure))


def test_a_training_without_steps_says_what_to_do() -> None:
    with pytest.raises(InputError, match="another work folder"):
        plots.training_curve([], [], [])
