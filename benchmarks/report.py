"""The table that a benchmark prints, and the JSON from which docs/benchmarks.md is written."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "transformers", "fastapi", "sqlalchemy")


@dataclass(frozen=True)
class Row:
    """
    One measured value beside what it should be.

    Attributes
    ----------
    name : str
        What was measured.
    value, aim : float
        Measured, and at most (or, with `more_is_better`, at least) what it should be.
    unit : str
        Of both.
    """

    name: str
    value: float
    aim: float
    unit: str = ""
    more_is_better: bool = False

    @property
    def met(self) -> bool:
        """Whether the aim is reached."""
        return self.value >= self.aim if self.more_is_better else self.value <= self.aim


Figures = Mapping[str, Mapping[str, str]]
"""Cells of a table by row and column: what stands behind the ratios."""


def report(name: str, rows: Sequence[Row], figures: Figures | None = None) -> bool:
    """
    Print all, write it to `benchmarks/results/NAME.json`, and say if every aim is met.

    The file keeps the last measurement of each kind of machine.
    """
    if figures:
        show(name, figures)
    table = Table("", "measured", "aim", "measured / aim", "", title=name)
    for row in rows:
        sign = "≥" if row.more_is_better else "≤"
        table.add_row(
            row.name,
            f"{row.value:.3g} {row.unit}",
            f"{sign} {row.aim:g} {row.unit}",
            f"{row.value / row.aim:.2f}",
            "met" if row.met else "[red]missed",
        )
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{name}.json"
    measured = json.loads(file.read_text()) if file.exists() else {}
    measured[hardware(machine())] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "rows": [asdict(row) | {"met": row.met} for row in rows],
        "figures": figures or {},
    }
    file.write_text(json.dumps(measured, indent=2) + "\n")
    return all(row.met for row in rows)


def show(name: str, figures: Figures) -> None:
    """Print the figures behind the ratios."""
    table = Table("", *next(iter(figures.values())), title=f"{name}: figures")
    for row, cells in figures.items():
        table.add_row(row, *cells.values())
    Console().print(table)


def hardware(machine: Mapping[str, Any]) -> str:
    """Return what names a kind of machine."""
    names = ", ".join(filter(None, (machine["accelerator"], machine["cpu"])))
    return f"{names}, {machine['cores']} cores"


def machine() -> dict[str, Any]:
    """Return on what and with what was measured."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    device = torch.accelerator.current_accelerator(check_available=True)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "accelerator": torch.get_device_module(device).get_device_name() if device else "",
        "packages": {package: version(package) for package in PACKAGES},
    }
