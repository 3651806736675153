"""What an evaluation notebook calls to hand over what it measured."""

from collections.abc import Mapping

from IPython.display import display

from lab.evals.metrics import MIME_TYPE, check_metrics


def record(metrics: Mapping[str, object]) -> None:
    """
    Show the metrics in the notebook and mark them for the database.

    They become an output with a type of its own, which is read back from the executed notebook;
    nothing is guessed from printed text.

    Parameters
    ----------
    metrics : mapping
        Finite numbers, texts or truth values by name.

    Raises
    ------
    InputError
        If a value cannot be stored.
    """
    checked = check_metrics(metrics)
    width = max(map(len, checked), default=0)
    text = "\n".join(f"{name:<{width}}  {_shown(value)}" for name, value in checked.items())
    display({"text/plain": text, MIME_TYPE: checked}, raw=True)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
