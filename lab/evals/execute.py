"""
Execute one notebook in a process of its own: `python -m lab.evals.execute`.

Papermill cannot run twice in one process beside an event loop, so each run gets a process. It
writes one line of JSON to standard output for every cell done, and a last one with the reason when
the notebook failed; the exit status alone says which, because Papermill marks cells that timed out
as completed. It ends with the process that started it: it holds our standard input open.
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

ENGINE = "lab"
LONGEST_REASON = 2000  # characters


class ProgressEngine(NBClientEngine):  # type: ignore[misc]
    """Papermill's engine that says how far it is."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **options: Any
    ) -> None:
        """Execute the notebook, printing a line after each cell."""
        complete = nb_man.cell_complete
        total = len(nb_man.nb.cells)

        def cell_complete(cell: NotebookNode, cell_index: int = 0, **rest: Any) -> None:
            complete(cell, cell_index=cell_index, **rest)
            say(cells_done=cell_index + 1, cells_total=total)

        nb_man.cell_complete = cell_complete
        super().execute_managed_notebook(nb_man, kernel_name, **options)


def main() -> int:
    """Execute the notebook and write its HTML; return the exit status."""
    arguments = _parse()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    papermill_engines.register(ENGINE, ProgressEngine)
    try:
        papermill.execute_notebook(
            arguments.source,
            arguments.target,
            json.loads(arguments.parameters),
            engine_name=ENGINE,
            kernel_name="python3",
            language="python",
            progress_bar=False,
            execution_timeout=arguments.cell_timeout,
            cwd=arguments.target.parent,
        )
    except (PapermillExecutionError, CellExecutionError, CellTimeoutError, DeadKernelError) as e:
        say(error=_reason(e, arguments.cell_timeout)[:LONGEST_REASON])
        return 1
    finally:
        if arguments.target.exists():
            write_html(arguments.target)
    return 0


def write_html(notebook: Path) -> None:
    """Write the notebook as a page beside it, with nothing fetched from elsewhere."""
    exporter = HTMLExporter(embed_images=True, mathjax_url="", require_js_url="", jquery_url="")
    body, _ = exporter.from_filename(str(notebook))
    notebook.with_suffix(".html").write_text(body, "utf-8")


def say(**values: object) -> None:
    """Tell the process that started this one."""
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _reason(error: Exception, cell_timeout: int) -> str:
    if isinstance(error, PapermillExecutionError):
        return f"Cell {error.exec_count} raised {error.ename}: {error.evalue}"
    if isinstance(error, CellTimeoutError):
        return (
            f"A cell took longer than {cell_timeout} s; ask for less or raise "
            "LAB_EVALUATION_CELL_TIMEOUT_S."
        )
    return f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    """Wait until standard input closes, which it does when the parent is gone; then end."""
    while os.read(sys.stdin.fileno(), 1):  # not sys.stdin.read, which aborts a process that ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.evals.execute", description=main.__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--parameters", default="{}", help="JSON object")
    parser.add_argument("--cell-timeout", type=int, default=3600, help="seconds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
