"""Measured values of an evaluation, as they lie in its executed notebook."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.errors import InputError

MIME_TYPE = "application/vnd.llm-ml-lab.metrics+json"


def check_metrics(metrics: Mapping[str, object]) -> dict[str, object]:
    """
    Return the metrics as a dict if they can be stored.

    Raises
    ------
    InputError
        If a name is no text, or a value is no finite number, text or truth value.
    """
    for name, value in metrics.items():
        if not isinstance(name, str) or not _is_storable(value):
            raise InputError(
                f"Metric `{name}` is {value!r}; expected a name with a finite number, a text, "
                "a truth value or None."
            )
    return dict(metrics)


def read_metrics(executed_notebook: Path) -> dict[str, Any]:
    """Return what the notebook recorded; of a name recorded twice the last value."""
    notebook = json.loads(executed_notebook.read_text("utf-8"))
    found: dict[str, Any] = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            found |= output.get("data", {}).get(MIME_TYPE, {})
    return found


def shown_metrics(metrics: Mapping[str, object]) -> dict[str, str]:
    """
    Return metrics as people read them: by name, each with its interval.

    >>> shown_metrics({"n": 3, "recall_high": 0.91, "recall_low": 0.5, "recall": 0.8})
    {'n': '3', 'recall': '0.8 [0.5, 0.91]'}
    """
    shown: dict[str, str] = {}
    for name in sorted(metrics):
        stem, _, end = name.rpartition("_")
        if end in {"low", "high"} and stem in metrics:
            continue
        ends = [metrics.get(f"{name}_low"), metrics.get(f"{name}_high")]
        interval = "" if None in ends else " [" + ", ".join(map(_rounded, ends)) + "]"
        shown[name] = _rounded(metrics[name]) + interval
    return shown


def _rounded(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _is_storable(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
