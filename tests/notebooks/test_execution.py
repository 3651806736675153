"""Every notebook runs from top to bottom, says the same again, and is clean afterwards."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import papermill
import pytest

from lab.client import connect
from lab.evals.catalog import list_evaluations
from tests.notebooks.conftest import FOLDER, Notebook, notebooks
from tests.ports import free_port

pytestmark = pytest.mark.notebooks

CELL_TIMEOUT_S = 200
CLEAN = FOLDER.parent / "scripts" / "clean-notebooks"
# Dashboards are tested in a browser, training by its own tests.
STORIES = [n for n in notebooks() if not {"dashboards", "training"} & set(n.file.parts)]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What a kernel needs to reach a lab of these tests alone."""
    with TemporaryDirectory(prefix="lab-") as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder).chmod(0o711)  # the account of the database passes through
        patch.setenv("LAB_DATA_FOLDER", f"{folder}/data")
        patch.setenv("LAB_DATABASE_PORT", str(free_port()))
        lab = connect()
        address = lab.openai()
        url = address["base_url"].removesuffix("/v1")
        yield {**os.environ, "LAB_API_URL": url, "LAB_API_KEY": address["api_key"]}
        asyncio.run(lab.aclose())


@pytest.fixture
def copied(notebook: Notebook, tmp_path: Path) -> Path:
    return Path(shutil.copy(notebook.file, tmp_path))


def run_pytest(notebook: Path, environment: dict[str, str], *options: str) -> None:
    """Run a pytest plugin for notebooks on one notebook, without the settings of this project."""
    alone = ("-c", os.devnull, "--rootdir", str(notebook.parent), "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *alone, *options, str(notebook)],
        cwd=notebook.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("notebook", STORIES, ids=str)
def test_it_runs_and_cleaning_leaves_it_as_it_was(
    notebook: Notebook, copied: Path, environment: dict[str, str]
) -> None:
    run_pytest(copied, environment, "--nbmake", "--overwrite", f"--nbmake-timeout={CELL_TIMEOUT_S}")

    subprocess.run([CLEAN, copied], check=True, env=environment)
    assert copied.read_bytes() == notebook.file.read_bytes()


@pytest.mark.parametrize(
    "notebook", [n for n in STORIES if n.file.name == "00_tour.ipynb"], ids=str
)
def test_its_golden_cells_say_the_same_again(copied: Path, environment: dict[str, str]) -> None:
    run_pytest(copied, environment, "--nbval-lax", f"--nbval-cell-timeout={CELL_TIMEOUT_S}")


def test_the_parameters_are_those_that_papermill_reads() -> None:
    for evaluation in list_evaluations(FOLDER):
        theirs = papermill.inspect_notebook(str(FOLDER / evaluation.notebook))

        assert [(p.name, p.type, p.description) for p in evaluation.parameters] == [
            (p["name"], p["inferred_type_name"], p["help"]) for p in theirs.values()
        ]
