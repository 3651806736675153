"""Write docs/benchmarks.md from the results: `python -m benchmarks.document`."""

import importlib
import json
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """\
# Benchmarks

Written by `make bench` from `benchmarks/results/`; do not edit. What is judged is a ratio to a
named peer measured in the same run, or a time that people wait.
"""


def page() -> str:
    """Return the page: one section for each result that is there, by name."""
    files = sorted(RESULTS.glob("*.json"))
    return "\n".join([HEAD, *(section(file.stem, json.loads(file.read_text())) for file in files)])


def section(name: str, results: dict[str, Any]) -> str:
    """Return a benchmark's method, and what each kind of machine gave."""
    method = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").strip()
    blocks = [f"## {name}", method]
    for hardware, result in results.items():
        machine = result["machine"]
        packages = ", ".join(f"{key} {value}" for key, value in machine["packages"].items())
        on = f"{hardware}, Python {machine['python']}, {packages}"
        blocks += [f"Measured on {result['measured_at'][:10]}: {on}.", judged(result["rows"])]
        if figures := result["figures"]:
            blocks.append(measured(figures))
    return "\n\n".join(blocks) + "\n"


def judged(rows: list[dict[str, Any]]) -> str:
    """Return the table of what was measured beside its aim."""
    lines = ["| | measured | aim | |", "|---|---|---|---|"]
    for row in rows:
        sign = "≥" if row["more_is_better"] else "≤"
        met = "met" if row["met"] else "**missed**"
        unit = f" {row['unit']}" if row["unit"] else ""
        lines.append(
            f"| {row['name']} | {row['value']:.3g}{unit} | {sign} {row['aim']:g}{unit} | {met} |"
        )
    return "\n".join(lines)


def measured(figures: dict[str, dict[str, str]]) -> str:
    """Return the table of the figures behind the ratios."""
    columns = list(next(iter(figures.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [f"| {name} | {' | '.join(cells.values())} |" for name, cells in figures.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
