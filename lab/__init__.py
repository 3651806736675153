"""
Reusable parts of the lab: pipelines, workflows, context extension and storage.

>>> from lab import connect
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.client import connect

__all__ = ["connect"]


def __getattr__(name: str) -> Any:
    """Import the client when it is first asked for: `import lab` stays light."""
    if name in __all__:
        return getattr(import_module("lab.client"), name)
    raise AttributeError(f"module `lab` has no attribute `{name}`")
