"""
Which evaluations there are and what one can set in each, read from the notebooks.

A notebook is JSON and its parameters cell holds annotated literals, so both are read here with the
standard library: Papermill's own inspection takes seconds to import, which the services cannot
afford. A test holds the two against each other.
"""

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from lab.errors import ConfigError, InputError, LabError, NotFoundError, nearest
from lab.schemas.evaluation import Evaluation
from lab.schemas.evaluation_parameter import EvaluationParameter

EVALUATIONS = "evals"
"""Folder of the evaluations in the notebooks folder."""

_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_TYPES: dict[str, TypeAdapter[Any]] = {
    "bool": TypeAdapter(bool, config=_STRICT),
    "int": TypeAdapter(int, config=_STRICT),
    "float": TypeAdapter(float, config=_STRICT),
    "str": TypeAdapter(str, config=_STRICT),
    "list[int]": TypeAdapter(list[int], config=_STRICT),
    "list[float]": TypeAdapter(list[float], config=_STRICT),
    "list[str]": TypeAdapter(list[str], config=_STRICT),
}


class UnknownEvaluationError(NotFoundError):
    """No evaluation has that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        LabError.__init__(
            self,
            f"Unknown evaluation `{name}`.{nearest(name, known)} "
            f"Evaluations here: {', '.join(known) or 'none'}.",
        )
        self.kind = "evaluation"
        self.key = name


def list_evaluations(notebooks_folder: Path) -> list[Evaluation]:
    """Return the evaluations in `notebooks_folder`, by name."""
    return [
        read_evaluation(file, notebooks_folder)
        for file in sorted((notebooks_folder / EVALUATIONS).glob("*.ipynb"))
    ]


def find_evaluation(name: str, notebooks_folder: Path) -> Evaluation:
    """
    Return the evaluation of that name.

    Raises
    ------
    UnknownEvaluationError
        If there is none; names the nearest.
    """
    files = {f.stem: f for f in sorted((notebooks_folder / EVALUATIONS).glob("*.ipynb"))}
    if name not in files:
        raise UnknownEvaluationError(name, list(files))
    return read_evaluation(files[name], notebooks_folder)


def read_evaluation(file: Path, notebooks_folder: Path) -> Evaluation:
    """
    Return what the notebook says of itself: heading, question and parameters.

    Raises
    ------
    ConfigError
        If its parameters cell is not made of annotated literals.
    """
    cells = json.loads(file.read_text("utf-8"))["cells"]
    words = "\n".join(_source(c) for c in cells if c["cell_type"] == "markdown")
    title = re.search(r"^# (.+)$", words, re.MULTILINE)
    question = re.search(r"\*\*Question:\*\* *(.+?) *$", words, re.MULTILINE)
    return Evaluation(
        name=file.stem,
        title=title[1] if title else file.stem,
        question=question[1] if question else "",
        notebook=str(file.relative_to(notebooks_folder)),
        parameters=[
            parameter
            for cell in cells
            if "parameters" in cell["metadata"].get("tags", ())
            for parameter in _read_parameters(_source(cell), file.name)
        ],
    )


def check_parameters(evaluation: Evaluation, values: Mapping[str, object]) -> dict[str, object]:
    """
    Return the values with the types that the notebook declares.

    Raises
    ------
    InputError
        If the notebook has no such parameter, or a value has another type.
    """
    declared = {parameter.name: parameter for parameter in evaluation.parameters}
    checked: dict[str, object] = {}
    for name, value in values.items():
        if name not in declared:
            raise InputError(
                f"`{evaluation.name}` has no parameter `{name}`.{nearest(name, list(declared))} "
                f"It takes: {', '.join(declared) or 'none'}."
            )
        try:
            checked[name] = _TYPES[declared[name].type].validate_python(value)
        except ValidationError:
            raise InputError(
                f"Parameter `{name}` of `{evaluation.name}` is {value!r}; expected "
                f"{declared[name].type}, e.g. {declared[name].default!r}."
            ) from None
    return checked


def _read_parameters(source: str, file: str) -> Iterator[EvaluationParameter]:
    comments = _comments(source)
    for statement in ast.parse(source).body:
        try:
            if not isinstance(statement, ast.AnnAssign) or statement.value is None:
                raise ValueError
            name, type_ = ast.unparse(statement.target), ast.unparse(statement.annotation)
            default = _TYPES[type_].validate_python(ast.literal_eval(statement.value))
        except (ValueError, KeyError):  # a ValidationError is a ValueError
            raise ConfigError(
                f"The parameters cell of {file} says `{ast.unparse(statement)}`; expected "
                f"`name: type = literal`, with one of the types {', '.join(_TYPES)}."
            ) from None
        description = comments.get(statement.end_lineno or statement.lineno, "")
        yield EvaluationParameter(name=name, type=type_, default=default, description=description)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _source(cell: Mapping[str, Any]) -> str:
    """Return the text of a cell, which is stored as one string or as lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)
