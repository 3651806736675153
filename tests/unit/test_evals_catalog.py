import json
from pathlib import Path

import pytest

from lab.errors import ConfigError, InputError
from lab.evals.catalog import (
    UnknownEvaluationError,
    check_parameters,
    find_evaluation,
    list_evaluations,
)
from lab.schemas.evaluation import Evaluation

PARAMETERS = """\
model: str = "lab-tiny"  # who answers
times_window: float = 2  # length of the talk
seeds: list[int] = [0, 1]
"""


def write(folder: Path, name: str, parameters: str = PARAMETERS) -> None:
    (folder / "evals").mkdir(exist_ok=True)
    words = "# Does it remember?\n\n**Question:** how much?  \n**Needs:** the API."
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": words.splitlines(keepends=True)},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": parameters},
        {"cell_type": "code", "metadata": {}, "source": "print(1)"},
    ]
    (folder / "evals" / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))


@pytest.fixture
def evaluation(tmp_path: Path) -> Evaluation:
    write(tmp_path, "recall")
    return find_evaluation("recall", tmp_path)


def test_a_notebook_says_what_it_is(evaluation: Evaluation) -> None:
    assert evaluation.title == "Does it remember?"
    assert evaluation.question == "how much?"
    assert evaluation.notebook == "evals/recall.ipynb"


def test_parameters_have_name_type_default_and_comment(evaluation: Evaluation) -> None:
    model, times, seeds = evaluation.parameters

    assert (model.name, model.type, model.default) == ("model", "str", "lab-tiny")
    assert (times.default, times.description) == (2.0, "length of the talk")
    assert (seeds.type, seeds.default) == ("list[int]", [0, 1])


def test_evaluations_are_listed_by_name(tmp_path: Path) -> None:
    write(tmp_path, "b")
    write(tmp_path, "a")

    assert [e.name for e in list_evaluations(tmp_path)] == ["a", "b"]


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "long_memory")

    with pytest.raises(UnknownEvaluationError, match="Did you mean `long_memory`"):
        find_evaluation("long_memori", tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", ".", "recall/../recall"])
def test_a_path_is_no_name(name: str, tmp_path: Path) -> None:
    write(tmp_path, "recall")

    with pytest.raises(UnknownEvaluationError):
        find_evaluation(name, tmp_path)


def test_an_unknown_parameter_gets_the_nearest(evaluation: Evaluation) -> None:
    with pytest.raises(InputError, match=r"`time_window`\. Did you mean `times_window`"):
        check_parameters(evaluation, {"time_window": 3.0})


@pytest.mark.parametrize(
    "values",
    [{"times_window": "3"}, {"times_window": float("nan")}, {"model": 3}, {"seeds": [1.5]}],
)
def test_a_value_of_another_type_is_refused(
    values: dict[str, object], evaluation: Evaluation
) -> None:
    with pytest.raises(InputError, match=r"expected .*, e\.g\. "):
        check_parameters(evaluation, values)


def test_a_whole_number_is_a_float_too(evaluation: Evaluation) -> None:
    assert check_parameters(evaluation, {"times_window": 3}) == {"times_window": 3.0}


@pytest.mark.parametrize("cell", ["n = 3", "n: int", "n: int = 'a'", "n: int = f()", "n: set = 3"])
def test_a_parameters_cell_that_computes_is_refused(cell: str, tmp_path: Path) -> None:
    write(tmp_path, "recall", cell)

    with pytest.raises(ConfigError, match="expected `name: type = literal`"):
        list_evaluations(tmp_path)
