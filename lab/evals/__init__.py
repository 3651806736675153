"""
What a model is worth: evaluations are notebooks, and this is what they call.

`from lab.evals import record` hands over the measured values. It is loaded on first use because it
needs IPython, which the services that start evaluations do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.evals.recording import record

__all__ = ["record"]


def __getattr__(name: str) -> object:
    """Load `record` when it is first asked for."""
    if name == "record":
        return import_module("lab.evals.recording").record
    raise AttributeError(f"module `lab.evals` has no attribute `{name}`")
