"""Notebooks are short stories without logic: what can be tested lives in `lab`."""

import ast
from typing import Any

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tests.notebooks.conftest import FOLDER, Notebook, notebooks

MAX_LINES = 15
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Try, ast.While, ast.Lambda)
METADATA = {"kernelspec"}
CELL_METADATA = {"tags"}
TAGS = {"parameters", "nbval-check-output", "keep_output"}

every_notebook = pytest.mark.parametrize("notebook", notebooks(), ids=str)
with_parameters = pytest.mark.parametrize(
    "notebook", [n for n in notebooks() if "dashboards" not in n.file.parts], ids=str
)


def source_of(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def tree_of(cell: dict[str, Any]) -> ast.Module:
    return ast.parse(TransformerManager().transform_cell(source_of(cell)))


@with_parameters
def test_the_first_code_cell_holds_the_parameters(notebook: Notebook) -> None:
    first = next(notebook.cells("code"))

    assert "parameters" in first["metadata"].get("tags", [])


@with_parameters
def test_parameters_are_annotated_literals_with_a_comment(notebook: Notebook) -> None:
    first = next(notebook.cells("code"))

    for statement in tree_of(first).body:
        assert isinstance(statement, ast.AnnAssign)
        assert statement.value is not None
        ast.literal_eval(statement.value)
    for line in source_of(first).splitlines():
        assert "  # " in line, f"`{line}` does not say what it is"


@with_parameters
def test_it_says_what_it_asks_needs_and_finds(notebook: Notebook) -> None:
    words = notebook.words()

    assert words.startswith("# ")
    for heading in ("**Question:**", "**Needs:**", "**Runs in:**", "**Finding:**"):
        assert heading in words


@every_notebook
def test_there_is_no_logic_in_it(notebook: Notebook) -> None:
    found = [
        f"{type(node).__name__} in `{source_of(cell)[:60]}`"
        for cell in notebook.cells("code")
        for node in ast.walk(tree_of(cell))
        if isinstance(node, LOGIC)
    ]

    assert found == []


@every_notebook
def test_cells_are_short(notebook: Notebook) -> None:
    lengths = {source_of(c)[:60]: len(source_of(c).splitlines()) for c in notebook.cells("code")}

    assert {cell: n for cell, n in lengths.items() if n > MAX_LINES} == {}


@every_notebook
def test_no_output_was_left_in_it(notebook: Notebook) -> None:
    stray = [
        source_of(cell)
        for cell in notebook.cells("code")
        if cell["outputs"] and "keep_output" not in cell["metadata"].get("tags", [])
    ]

    assert stray == []


@every_notebook
def test_its_metadata_is_only_what_it_needs(notebook: Notebook) -> None:
    assert set(notebook.content["metadata"]) == METADATA
    for cell in notebook.content["cells"]:
        assert set(cell["metadata"]) <= CELL_METADATA
        assert set(cell["metadata"].get("tags", [])) <= TAGS


@every_notebook
def test_it_names_no_path_of_a_machine(notebook: Notebook) -> None:
    text = notebook.file.read_text("utf-8")

    assert not [path for path in ("/home/", "/root/", "/work/", "/tmp/") if path in text]


def test_there_are_notebooks() -> None:
    assert (FOLDER / "00_tour.ipynb").is_file()
