"""The training notebook makes a model from nothing; here with a small part of the recipe."""

import asyncio
import sys
from pathlib import Path

import nbformat
import pytest
from transformers import AutoModelForCausalLM

from tests.notebooks.conftest import FOLDER

pytestmark = pytest.mark.notebooks

NOTEBOOK = FOLDER / "training" / "lab_tiny.ipynb"


async def test_it_trains_plots_and_measures(tmp_path: Path) -> None:
    executed, model = tmp_path / "executed.ipynb", tmp_path / "model"
    parameters = {
        "share": "0.001",
        "work": str(tmp_path / "work"),
        "output": str(model),
        "n_dialogues": "2",
    }
    options = [word for name, value in parameters.items() for word in ("-p", name, value)]

    run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "papermill", str(NOTEBOOK), str(executed), *options
    )

    assert await run.wait() == 0
    outputs = [
        kind
        for cell in nbformat.read(executed, as_version=4).cells
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert outputs.count("image/png") == 2
    assert "application/vnd.llm-ml-lab.metrics+json" in outputs
    assert AutoModelForCausalLM.from_pretrained(model).config.hidden_size == 192
