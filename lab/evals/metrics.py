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


def _is_storable(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, bool | int | str)
