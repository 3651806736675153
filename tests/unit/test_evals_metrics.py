import json
from pathlib import Path

import pytest

from lab.errors import InputError
from lab.evals.metrics import MIME_TYPE, check_metrics, read_metrics


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1], {"a": 1}, object()])
def test_what_no_database_can_compare_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="Metric `accuracy` is"):
        check_metrics({"accuracy": value})


def test_numbers_texts_and_truth_values_pass() -> None:
    metrics = {"accuracy": 0.5, "n": 3, "model": "lab-tiny", "passed": True, "note": None}

    assert check_metrics(metrics) == metrics


def test_only_outputs_of_the_metrics_type_count(tmp_path: Path) -> None:
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": "accuracy 0.9"},
        {"output_type": "display_data", "metadata": {}, "data": {MIME_TYPE: {"a": 1, "b": 1}}},
        {"output_type": "display_data", "metadata": {}, "data": {MIME_TYPE: {"b": 2}}},
    ]
    cells = [{"cell_type": "markdown", "source": "x"}, {"cell_type": "code", "outputs": outputs}]
    file = tmp_path / "executed.ipynb"
    file.write_text(json.dumps({"cells": cells}))

    assert read_metrics(file) == {"a": 1, "b": 2}
